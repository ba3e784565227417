//! What the kernel says of processes (proc(5)).

use std::fmt::Display;
use std::fs;

/// What the kernel counts of a process's memory.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Memory {
    /// All that it has now.
    Now,
    /// What it has now that no file stands behind: what it has allocated.
    Own,
    /// The most that it ever had.
    Peak,
}

impl Memory {
    /// In octets, of the process with this id, or of `self`.
    #[must_use]
    pub fn of(self, process: impl Display) -> u64 {
        let name = match self {
            Self::Now => "VmRSS:",
            Self::Own => "RssAnon:",
            Self::Peak => "VmHWM:",
        };
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let figure = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        figure.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// The ids of the processes that this one has started and that have not been waited for.
#[must_use]
pub fn children(of: &str) -> Vec<String> {
    let is_child = |id: &String| {
        // Whoever has ended meanwhile is nobody's child.
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim() == of))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let names = processes.filter_map(|process| process.file_name().into_string().ok());
    names.filter(is_child).collect()
}
