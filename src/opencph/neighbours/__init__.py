"""The services that clients call beside CPH: networks, public addresses, key pairs, billing. Their rules only; no HTTP.

They share CPH's rows, so that what one service says the other knows. A refusal is a `ServiceError` in the service's own shape.
"""
