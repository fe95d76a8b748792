"""Jobs over whole corpora that run outside the cluster: encoding, training, evaluation."""
