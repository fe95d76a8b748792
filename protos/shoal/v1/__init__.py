"""Wire types and stubs of the public API, made from the .proto files beside them."""
