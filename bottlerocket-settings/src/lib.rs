//! Typed client for the Bottlerocket host API on its Unix socket.
