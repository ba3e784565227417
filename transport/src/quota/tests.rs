//! Quotas as the policy spends them: one principal and its sessions, and another beside it.

use proptest::prelude::*;
use serde_json::{Value, json};
use vouchsafe_certs::{Permission, PermissionSet};

use super::*;
use crate::policy::{ClientPolicy, Decision, Rules, Verdict};

const SECOND: Duration = Duration::from_secs(1);

fn principal(name: &str) -> Principal {
    Principal::parse(&format!("spiffe://acme.example/{name}")).unwrap()
}

fn at_rate(per_second: f64, burst: u32) -> PrincipalLimits {
    let requests = Some(Rate::new(per_second, Some(burst)).unwrap());
    PrincipalLimits { requests, ..PrincipalLimits::default() }
}

fn quotas(limits: PrincipalLimits) -> (watch::Sender<Arc<LimitTable>>, Quotas) {
    let (sender, table) = watch::channel(Arc::new(LimitTable::new(limits)));
    (sender, Quotas::new(Some(table)))
}

fn session(quotas: &Quotas, name: &str) -> ClientPolicy {
    let held: PermissionSet = [Permission::parse("tools:*").unwrap()].into_iter().collect();
    ClientPolicy::new(held, Arc::new(Rules::default())).with_quota(quotas.of(&principal(name)))
}

fn log_to_nowhere() -> EventLog {
    let nowhere = std::fs::File::options().write(true).open("/dev/null").unwrap();
    let clock = Arc::new(rustls::time_provider::DefaultTimeProvider);
    EventLog::new(Arc::new(crate::Output::new(nowhere)), clock)
}

/// `None` if a call passes; what its caller is told if it does not.
fn call(session: &mut ClientPolicy, id: u64) -> Option<Value> {
    let params = json!({"name": "x", "arguments": {}});
    let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    match session.judge_client(call.to_string().as_bytes()).verdict {
        Verdict::Answer(line) => Some(serde_json::from_slice(&line).unwrap()),
        Verdict::Forward(_) => None,
        _ => panic!("a call is answered"),
    }
}

fn passes(session: &mut ClientPolicy, ids: std::ops::Range<u64>) -> usize {
    ids.filter(|id| call(session, *id).is_none()).count()
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_then_the_rate_holds_over_all_sessions_of_one_principal() {
    let (_sender, quotas) = quotas(at_rate(10.0, 4));
    let (mut first, mut second) = (session(&quotas, "busy"), session(&quotas, "busy"));
    let mut other = session(&quotas, "quiet");
    assert_eq!(passes(&mut first, 0..3) + passes(&mut second, 0..3), 4);
    let told = call(&mut first, 10).unwrap();
    assert_eq!(
        told,
        json!({"jsonrpc": "2.0", "id": 10, "error": {
            "code": 429,
            "message": "Refused: too many requests a second; try again in 100 ms",
            "data": {"retryAfterMs": 100},
        }})
    );
    assert_eq!(passes(&mut other, 0..9), 4);
    // Whoever waits for as long as it was told is let in, once.
    tokio::time::advance(SECOND / 10).await;
    assert_eq!(passes(&mut second, 10..19), 1);
    // A new session has what the others left.
    assert_eq!(passes(&mut session(&quotas, "busy"), 0..9), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_and_comes_back_has_no_more_than_before() {
    let (_sender, quotas) = quotas(at_rate(1.0, 3));
    let log = log_to_nowhere();
    assert_eq!(passes(&mut session(&quotas, "busy"), 0..9), 3);
    quotas.sum_up(&log).await;
    assert_eq!(passes(&mut session(&quotas, "busy"), 0..9), 0);
    // Only when nothing is owed any more is it forgotten.
    tokio::time::advance(SECOND * 3).await;
    quotas.sum_up(&log).await;
    assert!(quotas.lock().is_empty());
    assert_eq!(passes(&mut session(&quotas, "busy"), 0..9), 3);
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_counted_over_all_sessions_until_they_are_answered() {
    let in_flight = PrincipalLimits { in_flight: Some(3), ..PrincipalLimits::default() };
    let (_sender, quotas) = quotas(in_flight);
    let (mut first, mut second) = (session(&quotas, "busy"), session(&quotas, "busy"));
    assert_eq!(passes(&mut first, 0..2) + passes(&mut second, 0..2), 3);
    let told = call(&mut second, 5).unwrap();
    assert_eq!(
        (&told["error"]["code"], &told["error"]["data"]["retryAfterMs"]),
        (&json!(429), &json!(1000))
    );
    // An answer, a cancellation and the end of a session each make room.
    drop(first.judge_server(br#"{"jsonrpc":"2.0","id":0,"result":{}}"#));
    assert_eq!(passes(&mut second, 5..9), 1);
    let cancelled =
        br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    drop(first.judge_client(cancelled));
    assert_eq!(passes(&mut second, 15..19), 1);
    drop(second);
    assert_eq!(passes(&mut first, 20..29), 3);
}

#[tokio::test(start_paused = true)]
async fn notifications_over_the_rate_are_dropped_but_never_what_follows_from_a_request() {
    let (_sender, quotas) = quotas(at_rate(1.0, 1));
    let mut session = session(&quotas, "busy");
    assert_eq!(passes(&mut session, 0..1), 1);
    let mut says = |method: &str, params: Value| {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string();
        let judgement = session.judge_client(message.as_bytes());
        let passed = matches!(judgement.verdict, Verdict::Forward(_));
        let limited = judgement.record.is_some_and(|record| {
            matches!(record.decision, Decision::Denied(refusal) if refusal.retry_after().is_some())
        });
        (passed, limited)
    };
    assert_eq!(says("notifications/initialized", json!({})), (true, false));
    assert_eq!(says("notifications/initialized", json!({})), (false, true));
    assert_eq!(says("notifications/roots/list_changed", json!({})), (false, true));
    assert_eq!(says("notifications/cancelled", json!({"requestId": 0})), (true, false));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_or_belongs_to_nobody_counts_as_well() {
    for line in [&b"{"[..], br#"{"jsonrpc":"2.0","id":1,"result":{}}"#] {
        let (_sender, quotas) = quotas(at_rate(1.0, 1));
        let mut session = session(&quotas, "busy");
        let mut retry_after = || {
            let Decision::Denied(refusal) = session.judge_client(line).record.unwrap().decision
            else {
                panic!("it passed")
            };
            refusal.retry_after()
        };
        assert_eq!((retry_after(), retry_after()), (None, Some(SECOND)));
    }
}

#[tokio::test(start_paused = true)]
async fn other_limits_count_at_once_for_sessions_that_go_on() {
    let (sender, quotas) = quotas(at_rate(1.0, 1));
    let mut changes = quotas.changes();
    let mut session = session(&quotas, "busy");
    assert_eq!(passes(&mut session, 0..9), 1);
    let mut table = LimitTable::new(at_rate(1.0, 1));
    table.insert("busy", PrincipalLimits { sessions: Some(7), ..at_rate(1.0, 5) }).unwrap();
    sender.send_replace(Arc::new(table));
    quotas.follow(&mut changes).await;
    assert_eq!(passes(&mut session, 10..19), 5);
    assert_eq!(quotas.sessions_of(&principal("busy")), Some(7));
    assert_eq!(quotas.sessions_of(&principal("quiet")), None);
    // What stays the same is not given anew.
    sender.send_modify(|_| {});
    quotas.follow(&mut changes).await;
    assert_eq!(passes(&mut session, 20..29), 0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_does_not_flood_the_audit() {
    let (_sender, quotas) = quotas(at_rate(1.0, 1));
    let (busy, log) = (quotas.of(&principal("busy")).unwrap(), log_to_nowhere());
    assert_eq!((0..1000).filter(|_| busy.is_told()).count(), 5);
    assert_eq!(busy.lock().untold, 995);
    quotas.sum_up(&log).await;
    assert!(busy.is_told());
}

proptest! {
    /// However messages come, what passes in any time is no more than the rate allows and one message.
    #[test]
    fn octets_pass_at_the_rate(messages in prop::collection::vec((1..5_000_usize, 0..2_000_u64), 1..50)) {
        let limits = PrincipalLimits { octets_per_second: Some(1000), ..PrincipalLimits::default() };
        let start = Instant::now();
        let (quota, mut now, mut passed) = (Quota::new(limits, start), start, 0);
        for (octets, pause) in messages {
            now += Duration::from_millis(pause);
            while let Err(wait) = quota.pass(octets, now) {
                prop_assert!(wait > Duration::ZERO);
                now += wait;
            }
            // What was owed before this one is within the rate and what may come at once.
            let allowed = (now - start).as_secs_f64() * 1000.0 + 1000.0;
            prop_assert!(f64::from(u32::try_from(passed).unwrap()) <= allowed + 1.0);
            passed += octets;
        }
    }
}
