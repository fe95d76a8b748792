"""Wire types between actors; no user's code rests on them."""
