"""One light phone (`phone.Phone`) and the host process of many. Knows nothing of servers, projects or the database."""
