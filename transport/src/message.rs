//! MCP messages on raw JSON: read strictly, judged in place, forwarded octet by octet.

mod envelope;
mod reader;
mod value;

pub(crate) use envelope::{Id, Message, Outcome};
pub use reader::ReadError;
pub(crate) use value::{Known, Object, Value, string_end, unescape, value_end};
