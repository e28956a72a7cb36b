//! Facts about commands (arity, flags, keys, categories); no handlers.
