//! The messages of one stream of a session, on their way to whoever reads it.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use crate::message::Id;

/// One message on a stream.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Its place on the stream, counted from 1.
    pub(crate) number: u64,
    /// The message, without line end.
    pub(crate) line: Bytes,
    /// Whether it is an error in answer to the stream's request.
    pub(crate) is_error: bool,
    /// Whether nothing comes after it.
    pub(crate) is_last: bool,
}

/// One stream: the answer to a request, with what comes before it; or what belongs to no request.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The request that the stream answers, as the client named it.
    pub(crate) request: Option<Id>,
    /// Where progress of it is to be reported, as the client named it.
    pub(crate) token: Option<Id>,
    /// Whether the server may have heard of the request.
    pub(crate) is_sent: bool,
    /// Whether the answer lists tools.
    pub(crate) lists_tools: bool,
    /// What is kept of it: what was not read yet, and, where streams are resumed, some that was.
    events: VecDeque<Event>,
    octets: usize,
    /// Of these, octets that nobody has read.
    unread: usize,
    /// Messages so far, and those of them that were read.
    count: u64,
    read: u64,
    is_done: bool,
    is_given_up: bool,
    reader: Option<u64>,
    waker: Option<Waker>,
}

/// What a stream has for its reader.
#[derive(Debug)]
pub(crate) enum Next {
    Event(Event),
    /// Nothing yet.
    Wait,
    /// Nothing more.
    End,
}

impl Outbox {
    pub(crate) fn answering(request: Id, token: Option<Id>) -> Self {
        Self { request: Some(request), token, ..Self::default() }
    }

    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// Octets that nobody has read.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    /// The message before the first that nobody has read.
    pub(crate) fn first_unread(&self) -> u64 {
        let kept = self.events.front().map_or(self.count, |event| event.number - 1);
        kept.max(self.read)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    pub(crate) fn is_read(&self) -> bool {
        self.reader.is_some()
    }

    /// Adds a message.
    pub(crate) fn push(&mut self, line: Bytes, is_error: bool, is_last: bool) {
        if self.is_done {
            return;
        }
        self.count += 1;
        self.octets += line.len();
        self.unread += line.len();
        self.is_done = is_last;
        self.events.push_back(Event { number: self.count, line, is_error, is_last });
        self.wake();
    }

    /// Says that nothing more comes.
    pub(crate) fn end(&mut self) {
        self.is_done = true;
        self.wake();
    }

    /// Ends a stream whose reader does not read: what it has not read is lost.
    pub(crate) fn give_up(&mut self) {
        self.is_given_up = true;
        self.shrink(0);
        self.end();
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.is_done && !self.is_given_up
    }

    /// Octets that are kept although they were read.
    pub(crate) fn read_octets(&self) -> usize {
        self.octets - self.unread
    }

    /// Drops the oldest of those that were read until no more than `octets` of them are kept.
    pub(crate) fn forget_read(&mut self, octets: usize) {
        while self.read_octets() > octets && self.drop_oldest() {}
    }

    /// Drops the oldest messages until no more than `octets` are kept.
    pub(crate) fn shrink(&mut self, octets: usize) {
        while self.octets > octets && self.drop_oldest() {}
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(dropped) = self.events.pop_front() else { return false };
        self.octets -= dropped.line.len();
        if dropped.number > self.read {
            self.unread -= dropped.line.len();
        }
        true
    }

    /// Makes `reader` the one who reads; whoever did before gets nothing more.
    pub(crate) fn attach(&mut self, reader: u64) {
        self.reader = Some(reader);
        self.wake();
    }

    /// Whether `reader`, who has taken the messages up to `number`, was the one who read. Nobody is now.
    pub(crate) fn detach(&mut self, reader: u64, number: u64) -> bool {
        let was_its = self.reader == Some(reader);
        if was_its {
            self.was_taken(number);
            self.reader = None;
            self.waker = None;
        }
        was_its
    }

    /// The first message after `number`: whoever asks for it has taken those up to there, and not what
    /// is given now. Without `keeps` what was taken is forgotten.
    pub(crate) fn next(&mut self, reader: u64, number: u64, keeps: bool, waker: &Waker) -> Next {
        if self.reader != Some(reader) {
            return Next::End;
        }
        self.was_taken(number);
        while !keeps && self.events.front().is_some_and(|event| event.number <= number) {
            self.drop_oldest();
        }
        // A reader that was overtaken by forgetting, perhaps in the middle of a message, gets no other in its place.
        let first = self.events.front().map_or(self.count + 1, |event| event.number);
        let Some(at) = (number + 1).checked_sub(first) else { return Next::End };
        match self.events.get(usize::try_from(at).unwrap_or(usize::MAX)) {
            Some(event) => Next::Event(event.clone()),
            None if self.is_done => Next::End,
            None => {
                self.waker = Some(waker.clone());
                Next::Wait
            }
        }
    }

    fn was_taken(&mut self, number: u64) {
        let taken = self.read + 1..=number;
        let events = self.events.iter().filter(|event| taken.contains(&event.number));
        self.unread -= events.map(|event| event.line.len()).sum::<usize>();
        self.read = self.read.max(number.min(self.count));
    }

    /// Whether a stream can go on after the message `number`: none that came later is forgotten.
    pub(crate) fn goes_on_after(&self, number: u64) -> bool {
        let first = self.events.front().map_or(self.count + 1, |event| event.number);
        number <= self.count && number + 1 >= first
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(outbox: &mut Outbox, after: u64, keeps: bool) -> Option<u64> {
        match outbox.next(1, after, keeps, Waker::noop()) {
            Next::Event(event) => Some(event.number),
            Next::Wait | Next::End => None,
        }
    }

    /// One with a reader, and so many messages of ten octets.
    fn holding(messages: usize) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.attach(1);
        for _ in 0..messages {
            outbox.push(Bytes::from_static(b"0123456789"), false, false);
        }
        outbox
    }

    #[test]
    fn what_was_read_can_be_read_again_for_as_long_as_it_is_kept() {
        let mut outbox = holding(5);
        assert_eq!(read(&mut outbox, 0, true), Some(1));
        assert_eq!(read(&mut outbox, 4, true), Some(5));
        assert_eq!(read(&mut outbox, 1, true), Some(2));
        assert_eq!(outbox.octets(), 50);
        outbox.shrink(25);
        assert_eq!((outbox.octets(), read(&mut outbox, 3, true)), (20, Some(4)));
        assert!(outbox.goes_on_after(3) && outbox.goes_on_after(5));
        assert!(!outbox.goes_on_after(2) && !outbox.goes_on_after(6));
    }

    #[test]
    fn of_what_was_read_no_more_is_kept_than_there_is_room_for() {
        let mut outbox = Outbox::default();
        outbox.attach(1);
        for number in 0..100 {
            outbox.push(Bytes::from_static(b"0123456789"), false, false);
            assert_eq!(read(&mut outbox, number, true), Some(number + 1));
            outbox.forget_read(30);
            assert!(outbox.octets() <= 40);
        }
        // What nobody has read stays.
        for _ in 0..10 {
            outbox.push(Bytes::from_static(b"0123456789"), false, false);
        }
        assert_eq!(read(&mut outbox, 100, true), Some(101));
        outbox.forget_read(0);
        assert_eq!((outbox.octets(), outbox.unread()), (100, 100));
        // Nor is it read because somebody began to.
        assert_eq!(read(&mut outbox, 101, true), Some(102));
        assert_eq!(outbox.unread(), 90);
    }

    #[test]
    fn whoever_reads_again_what_is_forgotten_meanwhile_is_at_the_end() {
        let mut outbox = holding(2);
        assert_eq!(read(&mut outbox, 2, true), None);
        outbox.attach(2);
        assert!(matches!(outbox.next(2, 0, true, Waker::noop()), Next::Event(_)));
        // In the middle of the first, and it is not the second that goes on where that was left.
        outbox.forget_read(10);
        assert!(matches!(outbox.next(2, 0, true, Waker::noop()), Next::End));
        outbox.forget_read(0);
        assert!(matches!(outbox.next(2, 0, true, Waker::noop()), Next::End));
    }

    #[test]
    fn where_nothing_is_resumed_nothing_is_kept() {
        let mut outbox = Outbox::default();
        outbox.attach(1);
        outbox.push(Bytes::from_static(b"a"), false, false);
        outbox.push(Bytes::from_static(b"b"), false, true);
        outbox.push(Bytes::from_static(b"after the last"), false, false);
        assert_eq!(read(&mut outbox, 0, false), Some(1));
        assert_eq!(read(&mut outbox, 1, false), Some(2));
        assert_eq!(outbox.octets(), 1);
        assert!(matches!(outbox.next(1, 2, false, Waker::noop()), Next::End));
        assert_eq!(outbox.octets(), 0);
    }

    #[test]
    fn one_reads_and_whoever_read_before_does_not() {
        let mut outbox = Outbox::default();
        outbox.attach(1);
        outbox.attach(2);
        outbox.push(Bytes::from_static(b"a"), false, false);
        assert!(matches!(outbox.next(1, 0, true, Waker::noop()), Next::End));
        assert!(matches!(outbox.next(2, 0, true, Waker::noop()), Next::Event(_)));
        assert!(!outbox.detach(1, 0) && outbox.is_read());
        assert!(outbox.detach(2, 1) && !outbox.is_read());
        assert_eq!(outbox.unread(), 0);
    }
}
