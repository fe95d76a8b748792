"""Work over whole corpora that runs beside the cluster: `shoal encode`."""
