//! What stands between every message and its reader, function by function, with what each allocates:
//! `cargo bench -p vouchsafe-bench`.

#![allow(missing_docs, reason = "benchmarks are read by their names")]

use std::sync::Arc;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use vouchsafe_certs::{Permission, PermissionSet};
use vouchsafe_transport::{ClientPolicy, Rules, Verdict};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// So many permissions of the kinds that certificates carry.
fn permissions(count: usize) -> PermissionSet {
    let named = (1..count).map(|nth| format!("resources:file:///srv/team-{nth}/*"));
    let all = named.chain(["tools:*".to_owned()]);
    all.filter_map(|text| Permission::parse(&text).ok()).collect()
}

fn policy() -> ClientPolicy {
    ClientPolicy::new(permissions(8), Arc::new(Rules::default()))
}

/// A call whose arguments have so many octets.
fn call(len: usize) -> Vec<u8> {
    let message = "x".repeat(len);
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"message\":\"{message}\"}}}}}}"
    )
    .into_bytes()
}

/// A result with so many octets of text.
fn result(len: usize) -> Vec<u8> {
    let text = "y".repeat(len);
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}}}}"
    )
    .into_bytes()
}

/// A list of so many tools, half of which the client may call.
fn tools(count: usize) -> Vec<u8> {
    let tool = |nth: usize| {
        let name = if nth.is_multiple_of(2) { "read" } else { "write" };
        format!(
            "{{\"name\":\"{name}_{nth}\",\"description\":\"What tool {nth} does, in a sentence.\",\"inputSchema\":{{\"type\":\"object\",\"properties\":{{\"path\":{{\"type\":\"string\"}}}}}}}}"
        )
    };
    let tools: Vec<_> = (0..count).map(tool).collect();
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"tools\":[{}]}}}}", tools.join(","))
        .into_bytes()
}

/// The policy point and the strict reader under it, for both directions of one call: octets of the arguments.
#[divan::bench(args = [100, 4_096, 65_536, 1_048_576])]
fn call_and_short_answer(bencher: Bencher<'_, '_>, len: usize) {
    let (call, answer, mut policy) = (call(len), result(32), policy());
    bencher.counter(BytesCount::of_slice(&call)).bench_local(|| {
        assert!(matches!(policy.judge_client(black_box(&call)).verdict, Verdict::Forward(_)));
        assert!(matches!(policy.judge_server(black_box(&answer)).verdict, Verdict::Forward(_)));
    });
}

/// The same for large results.
#[divan::bench(args = [4_096, 65_536, 1_048_576])]
fn short_call_and_answer(bencher: Bencher<'_, '_>, len: usize) {
    let (call, answer, mut policy) = (call(100), result(len), policy());
    bencher.counter(BytesCount::of_slice(&answer)).bench_local(|| {
        assert!(matches!(policy.judge_client(black_box(&call)).verdict, Verdict::Forward(_)));
        assert!(matches!(policy.judge_server(black_box(&answer)).verdict, Verdict::Forward(_)));
    });
}

/// A call that the certificate does not permit.
#[divan::bench]
fn denied_call(bencher: Bencher<'_, '_>) {
    let held: PermissionSet = Permission::parse("tools:read_*").into_iter().collect();
    let mut policy = ClientPolicy::new(held, Arc::new(Rules::default()));
    let call = call(100);
    bencher.bench_local(|| {
        assert!(matches!(policy.judge_client(black_box(&call)).verdict, Verdict::Answer(_)));
    });
}

/// A list that is filtered: tools on it.
#[divan::bench(args = [10, 100, 1_000])]
fn filtered_list(bencher: Bencher<'_, '_>, count: usize) {
    let held: PermissionSet = Permission::parse("tools:read_*").into_iter().collect();
    let mut policy = ClientPolicy::new(held, Arc::new(Rules::default()));
    let ask = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}";
    let list = tools(count);
    bencher.counter(BytesCount::of_slice(&list)).bench_local(|| {
        assert!(matches!(policy.judge_client(black_box(ask)).verdict, Verdict::Forward(_)));
        assert!(matches!(policy.judge_server(black_box(&list)).verdict, Verdict::Forward(_)));
    });
}

/// The permission extension of a certificate, read: permissions in it.
#[divan::bench(args = [1, 16, 256])]
fn extension_from_der(bencher: Bencher<'_, '_>, count: usize) {
    let der = permissions(count).to_der().unwrap_or_default();
    bencher.bench_local(|| {
        assert!(PermissionSet::from_der(black_box(&der)).is_ok());
    });
}

/// The same, written.
#[divan::bench(args = [1, 16, 256])]
fn extension_to_der(bencher: Bencher<'_, '_>, count: usize) {
    let set = permissions(count);
    bencher.bench_local(|| assert!(black_box(&set).to_der().is_ok()));
}

/// Whether a set allows something: permissions in it.
#[divan::bench(args = [1, 16, 256])]
fn set_allows(bencher: Bencher<'_, '_>, count: usize) {
    let set = permissions(count);
    bencher.bench_local(|| {
        black_box(&set).allows(black_box("resources"), black_box("file:///srv/none"))
    });
}

/// Whether one set is within another, and what both allow.
#[divan::bench(args = [1, 16, 256])]
fn set_within(bencher: Bencher<'_, '_>, count: usize) {
    let (set, wide) = (permissions(count / 2 + 1), permissions(count));
    bencher.bench_local(|| assert!(black_box(&set).is_within(black_box(&wide))));
}

#[divan::bench(args = [1, 16, 256])]
fn set_intersection(bencher: Bencher<'_, '_>, count: usize) {
    let (set, wide) = (permissions(count / 2 + 1), permissions(count));
    bencher.bench_local(|| black_box(&set).intersection(black_box(&wide)));
}
