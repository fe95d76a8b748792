"""How the clients talk to a gateway: channels, requests, replies, retries, streams."""
