//! MCP messages on raw JSON: read strictly, judged in place, forwarded octet by octet.

mod edit;
mod envelope;
mod reader;
mod shared;
mod value;

pub(crate) use edit::{Edit, edit};
pub(crate) use envelope::{Id, Message, Outcome, progress_token};
pub use reader::ReadError;
pub(crate) use shared::{Concerning, request_as};
pub(crate) use value::{Known, Object, Value, string_end, unescape, value_end};
