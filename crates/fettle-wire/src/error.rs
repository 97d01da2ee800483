//! The error envelope that every refusal comes in.
//!
//! Owns the types of errors and their statuses. It must not know what went wrong inside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `{"success": false, "status": 404, "error": {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorEnvelope {
    /// Always `false`.
    pub success: bool,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub error: ErrorBody,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// Stable name of the kind of error.
    #[serde(rename = "type")]
    pub error_type: ErrorType,
    /// For people.
    pub message: String,
    /// For programs.
    #[serde(default)]
    pub details: Map<String, Value>,
}

macro_rules! error_types {
    ($($(#[$doc:meta])* $name:ident = $status:literal,)*) => {
        /// Kinds of error, each with its status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorType { $($(#[$doc])* $name,)* }

        impl ErrorType {
            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

error_types! {
    /// The request cannot be understood as HTTP or as this operation.
    BadRequestError = 400,
    /// No key, or one that is not known.
    UnauthorizedError = 401,
    /// The key is known and may not do this.
    ForbiddenError = 403,
    /// It does not exist, or is another tenant's.
    NotFoundError = 404,
    /// The path exists with other methods.
    MethodNotAllowedError = 405,
    /// The name is taken.
    AlreadyExistsError = 409,
    /// The present state does not allow it.
    ConflictError = 409,
    /// The body is too large.
    PayloadTooLargeError = 413,
    /// The body or a parameter does not fit; `details.validation_errors` says where.
    ValidationError = 422,
    /// Too many requests; `Retry-After` says when to come back.
    TooManyRequestsError = 429,
    /// A fault of the server.
    InternalServerError = 500,
    /// The operation exists in the contract and is not built yet.
    NotImplementedError = 501,
    /// Something that the server needs is away; `Retry-After` says when to come back.
    ServiceUnavailableError = 503,
    /// The request took longer than the server allows.
    TimeoutError = 504,
}

/// One thing that does not fit, in `details.validation_errors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ValidationIssue {
    /// Kind: `missing`, `extra_forbidden`, `type_error`, `value_error`, `json_invalid`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where: `["body", "source", "bucket_ids"]`.
    pub location: Vec<Value>,
    /// For people.
    pub message: String,
}
