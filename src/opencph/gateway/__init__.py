"""The ways in: TCP port mappings and SSH tunnels to phones. Follows the database; knows nothing of HTTP or jobs."""
