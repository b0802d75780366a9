"""Messages on the wire: what each compressor sends as bytes, which randomness it uses, and how messages are added up."""
