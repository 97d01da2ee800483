//! Gathers what the diagnosis needs.
