//! What pods answer.

use std::time::Duration;

use serde_json::Value;

/// The body that a pod answers with.
pub fn http_get(address: &str, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((address, 8080)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// What a pod answers to another request: the status and the body.
pub fn http(address: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((address, 8080)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Gives a pod work for so many seconds; whether it took it.
pub fn start_work(address: &str, seconds: f64) -> bool {
    http(address, "POST", &format!("/start?seconds={seconds}"), "")
        .is_some_and(|(status, _)| status == 200)
}

/// A pod is done with all its work.
pub fn finish_work(address: &str) {
    assert_eq!(
        http(address, "POST", "/finish", "").map(|(status, _)| status),
        Some(204),
        "{address}"
    );
}

/// Makes a pod misbehave.
pub fn switch(address: &str, switches: &Value) {
    assert_eq!(
        http(address, "POST", "/switch", &switches.to_string()).map(|(status, _)| status),
        Some(200),
        "{address}"
    );
}
