//! What the library that reads the command line says of mistakes, with a hint where its own words lead
//! nowhere.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::output;

/// Says what is wrong with what was typed, and ends: with 2, or with 0 where help was asked for.
pub(crate) fn tell(error: &clap::Error) -> ! {
    // Where there is no reader, there is nobody to tell.
    let _ = error.print();
    if let Some(hint) = hint(error) {
        output::say(format_args!("\nhint: {hint}\n"));
    }
    std::process::exit(error.exit_code())
}

fn hint(error: &clap::Error) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let number = match error.kind() {
        // A value that begins with a hyphen is taken for an option.
        ErrorKind::UnknownArgument => said(ContextKind::InvalidArg),
        ErrorKind::ValueValidation => said(ContextKind::InvalidValue),
        _ => None,
    };
    let number = number.filter(|text| text.starts_with('-') && text.parse::<f64>().is_ok())?;
    Some(format!("{number} is below 0, and every number that is asked for here is 0 or more"))
}
