"""Word2Vec on a Ray cluster: the crew of actors that trains, and what starts it."""
