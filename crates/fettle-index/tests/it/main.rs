//! The document index, seen through its port.

mod common;
mod documents;
mod kill;
mod measure;
