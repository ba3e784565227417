//! A second opinion on HTTP/1.1, which reads the plain cases alone: whatever is unusual is no case for it.

/// A request that can be read in one way only.
#[derive(Debug)]
pub struct Plain<'a> {
    pub method: &'a str,
    pub path: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    pub body: &'a [u8],
}

impl<'a> Plain<'a> {
    /// Reads the first of some requests, and what follows it.
    pub fn read(octets: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = split_once(octets, b"\r\n\r\n")?;
        let head = std::str::from_utf8(head).ok().filter(|head| head.is_ascii())?;
        let mut lines = head.split("\r\n");
        let first: Vec<&str> = lines.next()?.split(' ').collect();
        let [method, path, "HTTP/1.1"] = first[..] else { return None };
        let is_plain = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic());
        let is_name = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        if !is_name(method)
            || !path.starts_with('/')
            || !is_plain(path)
            || path.contains(['#', '"', '<', '>', '\\', '^', '`', '{', '|', '}'])
        {
            return None;
        }
        let fields = lines.map(|line| {
            line.split_once(": ").filter(|(name, value)| {
                is_name(name)
                    && value.bytes().all(|octet| matches!(octet, 0x20..=0x7e))
                    && value.trim() == *value
            })
        });
        let fields = fields.collect::<Option<Vec<_>>>()?;
        let plain = Self { method, path, fields, body: b"" };
        let unusual = ["transfer-encoding", "expect", "upgrade", "connection", "content-encoding"];
        if unusual.iter().any(|name| plain.all(name).next().is_some()) {
            return None;
        }
        let len = match plain.all("content-length").collect::<Vec<_>>()[..] {
            [] => 0,
            [len] if len.len() < 7 && len.bytes().all(|octet| octet.is_ascii_digit()) => {
                len.parse().ok()?
            }
            _ => return None,
        };
        let (body, rest) = rest.split_at_checked(len)?;
        Some((Self { body, ..plain }, rest))
    }

    /// The values of a field, which may occur many times.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        let named = move |(own, _): &&(&str, &str)| own.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| *value)
    }

    /// The value of a field that occurs once.
    pub fn one(&self, name: &str) -> Option<&'a str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    pub fn field_count(&self) -> usize {
        self.fields.len()
    }
}

/// One answer, of those that a server of ours has written.
#[derive(Debug)]
pub struct Answered<'a> {
    pub status: u16,
    pub fields: Vec<(&'a str, &'a str)>,
    pub body: Vec<u8>,
}

/// Reads what a server of ours has written: it has nothing unusual about it. The last may be cut short.
pub fn answers(mut octets: &[u8], is_head: bool) -> Vec<Answered<'_>> {
    let mut answers = Vec::new();
    while let Some((head, rest)) = split_once(octets, b"\r\n\r\n") {
        let head = std::str::from_utf8(head).expect("a head of ours is text");
        let (first, fields) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = first.strip_prefix("HTTP/1.").expect("an answer begins with its status");
        let status = status[2..5].parse().expect("a status has three digits");
        let fields: Vec<_> =
            fields.split("\r\n").filter_map(|line| line.split_once(": ")).collect();
        let field =
            |name: &str| fields.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
        let (body, rest) = match (field("transfer-encoding"), field("content-length")) {
            _ if is_head || matches!(status, 100 | 204 | 304) => (Vec::new(), rest),
            (Some(_), None) => unchunked(rest),
            (None, len) => {
                let len: usize = len.map_or(0, |len| len.parse().expect("a length is a number"));
                let (body, rest) = rest.split_at(len.min(rest.len()));
                (body.to_vec(), rest)
            }
            (Some(_), Some(_)) => panic!("an answer with two lengths"),
        };
        if status != 100 {
            answers.push(Answered { status, fields, body });
        }
        octets = rest;
    }
    answers
}

fn unchunked(mut octets: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    while let Some((len, rest)) = split_once(octets, b"\r\n") {
        let len = std::str::from_utf8(len).ok().and_then(|len| usize::from_str_radix(len, 16).ok());
        let len = len.expect("a chunk begins with its length");
        let Some((chunk, rest)) = rest.split_at_checked(len + 2) else { return (body, b"") };
        if len == 0 {
            return (body, rest);
        }
        body.extend_from_slice(&chunk[..len]);
        octets = rest;
    }
    (body, b"")
}

fn split_once<'a>(octets: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = octets.windows(at.len()).position(|window| window == at)?;
    Some((&octets[..found], &octets[found + at.len()..]))
}
