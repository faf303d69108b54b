//! The process's one choice of cryptography: ring. Clients built without it refuse to start.

/// Makes ring the process's crypto provider. Call it first thing in `main` and in tests that make HTTP clients; further
/// calls change nothing.
pub fn use_ring() {
    // An error says that a provider is there already, which is all that is wanted.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
}
