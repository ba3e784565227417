//! What a process says, line by line, and waiting for it.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Nothing on this machine takes longer, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Lines as they come; whoever looks for one waits for it.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    pub(crate) fn follow(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let written = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                written.0.0.lock().unwrap().push(line);
                written.0.1.notify_all();
            }
        });
        lines
    }

    /// The first line from the `from`th on that holds this, and where it stands.
    pub(crate) fn wait_for(&self, from: usize, text: &str) -> (usize, String) {
        let find = |lines: &[String]| lines.iter().skip(from).position(|line| line.contains(text));
        let (lines, changed) = &*self.0;
        let none_yet = |lines: &mut Vec<String>| find(lines).is_none();
        let waited = changed.wait_timeout_while(lines.lock().unwrap(), PATIENCE, none_yet);
        let (lines, _) = waited.unwrap();
        let at = find(&lines).unwrap_or_else(|| panic!("no line with {text:?} in {lines:#?}"));
        (from + at, lines.get(from + at).unwrap().clone())
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }
}
