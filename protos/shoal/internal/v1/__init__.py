"""Wire types and stubs of the services that coordinator, encoders and index workers host for each other."""
