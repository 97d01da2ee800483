//! The blob store through its port: on files and on a server that speaks S3.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod files;
mod s3;
