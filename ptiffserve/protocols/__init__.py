"""Protocols: each a module of parse (strings in), resolve (geometry), describe (documents out). All pure."""
