//! Requests and answers of HTTP/1.1.

/// A request on a connection that is kept. `fields` are further lines of its head, each with its end.
pub(crate) fn post(path: &str, content_type: &str, fields: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    );
    [head.as_str(), body].concat().into_bytes()
}

/// Whether an HTTP/1.1 answer has come to its end (RFC 9112 §6.3).
pub(crate) fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(len) => len.parse().is_ok_and(|len: usize| body.len() >= len),
        None => body.ends_with("0\r\n\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn an_answer_ends_where_http_says() {
        let by_length = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
        let in_chunks =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
        for answer in [by_length, in_chunks] {
            assert!(is_whole(answer.as_bytes()));
            let (all_but_the_last, _) = answer.split_at(answer.len() - 1);
            assert!(!is_whole(all_but_the_last.as_bytes()));
        }
    }
}
