//! Every kind of question that a DNS client may have: what is sent, and how many answers are waited for. For comparing
//! how a server seems with and without somebody on the way.

/// One question.
#[derive(Debug)]
pub struct Question {
    /// What it is called in results.
    pub name: &'static str,
    /// The messages; on one socket, one after the other.
    pub messages: Vec<Vec<u8>>,
    /// How many answers are waited for.
    pub answers: usize,
    /// How it is sent.
    pub manner: Manner,
    /// Whether a server that reads and writes messages anew, as Docker's does, passes it on at all.
    pub plain: bool,
}

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Datagrams.
    Udp,
    /// Over one connection, all at once.
    Tcp,
    /// Over one connection, a byte at a time at first.
    TcpInPieces,
    /// Over one connection, which is closed for writing behind them.
    TcpAndFinish,
}

/// A message that is being written.
struct Form {
    flags: u16,
    counts: [u16; 4],
    body: Vec<u8>,
}

impl Form {
    fn ask(name: &str, kind: u16) -> Self {
        Self::ask_in(name, kind, 1)
    }

    fn ask_in(name: &str, kind: u16, class: u16) -> Self {
        let body = [wire(name), kind.to_be_bytes().into(), class.to_be_bytes().into()].concat();
        Self { flags: 0x0100, counts: [1, 0, 0, 0], body }
    }

    fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    fn counts(self, counts: [u16; 4]) -> Self {
        Self { counts, ..self }
    }

    /// With these bytes behind.
    fn and(mut self, bytes: &[u8]) -> Self {
        self.body.extend(bytes);
        self
    }

    /// With an OPT record (RFC 6891): a payload size, a version, flags, options.
    fn edns(mut self, size: u16, version: u8, flags: u16, options: &[u8]) -> Self {
        let [_, _, _, additional] = &mut self.counts;
        *additional += 1;
        let length = u16::try_from(options.len()).unwrap_or(u16::MAX);
        let ttl = [0, version];
        self.and(&[0, 0, 41])
            .and(&size.to_be_bytes())
            .and(&ttl)
            .and(&flags.to_be_bytes())
            .and(&length.to_be_bytes())
            .and(options)
    }

    fn with_id(&self, id: u16) -> Vec<u8> {
        let [questions, answers, authorities, additional] = self.counts;
        let words = [id, self.flags, questions, answers, authorities, additional];
        words.iter().flat_map(|word| word.to_be_bytes()).chain(self.body.iter().copied()).collect()
    }

    fn message(&self) -> Vec<u8> {
        self.with_id(0x4a17)
    }
}

/// A name as it is sent. What stands between dots is taken as it is.
fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(63));
        out.extend(label.bytes());
    }
    out.push(0);
    out
}

/// Fills up with so many bytes.
fn padded(mut message: Vec<u8>, length: usize) -> Vec<u8> {
    let filler = (0..u8::MAX).cycle().take(length.saturating_sub(message.len()));
    message.extend(filler);
    message
}

/// All of them, for names below a domain.
#[must_use]
pub fn all(domain: &str) -> Vec<Question> {
    let mut questions = Vec::new();
    for manner in [Manner::Udp, Manner::Tcp] {
        let forms =
            plain(domain).into_iter().map(|form| (true, form)).chain(odd(domain).into_iter().map(|form| (false, form)));
        questions.extend(forms.map(|(plain, (name, form))| Question {
            name,
            messages: vec![form.message()],
            answers: 1,
            manner,
            plain,
        }));
    }
    questions.extend(datagrams(domain));
    questions.extend(connections(domain));
    questions
}

/// What any server understands.
fn plain(domain: &str) -> Vec<(&'static str, Form)> {
    let below = |label: &str| format!("{label}.{domain}");
    let host = below("host");
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    vec![
        ("a", Form::ask(&host, 1)),
        ("aaaa", Form::ask(&host, 28)),
        ("mx", Form::ask(&host, 15)),
        ("txt", Form::ask(&host, 16)),
        ("srv", Form::ask(&below("_http._tcp"), 33)),
        ("soa", Form::ask(domain, 6)),
        ("ns", Form::ask(domain, 2)),
        ("caa", Form::ask(&host, 257)),
        ("https", Form::ask(&host, 65)),
        ("cname", Form::ask(&host, 5)),
        ("ptr", Form::ask("5.2.0.192.in-addr.arpa", 12)),
        ("any", Form::ask(&host, 255)),
        ("upper-and-lower-case", Form::ask(&format!("hOsT.{}", domain.to_uppercase()), 1)),
        ("nxdomain", Form::ask(&below("nx"), 1)),
        ("nodata", Form::ask(&below("nodata"), 28)),
        ("refused", Form::ask(&below("refused"), 1)),
        ("servfail", Form::ask(&below("servfail"), 1)),
        ("edns", Form::ask(&host, 1).edns(1232, 0, 0, &[])),
        ("dnssec-ok", Form::ask(&host, 1).edns(1232, 0, 0x8000, &[])),
        ("cookie", Form::ask(&host, 1).edns(1232, 0, 0, &cookie)),
        ("big-with-edns-4096", Form::ask(&below("big"), 16).edns(4096, 0, 0, &[])),
        ("truncated", Form::ask(&below("trunc"), 16)),
        ("late", Form::ask(&below("late"), 16)),
    ]
}

/// What is read by the server that is asked, and understood by no other.
fn odd(domain: &str) -> Vec<(&'static str, Form)> {
    let below = |label: &str| format!("{label}.{domain}");
    let host = below("host");
    let label = "x".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}.{domain}", "y".repeat(253 - 3 * 64 - 1 - domain.len()));
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    let nsid = [0, 3, 0, 0];
    let second = [wire(&below("second")), vec![0, 1, 0, 1]].concat();
    let record = [&wire(domain)[..], &[0, 6, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    vec![
        ("class-chaos", Form::ask_in("version.bind", 16, 3)),
        ("class-hesiod", Form::ask_in(&host, 16, 4)),
        ("class-any", Form::ask_in(&host, 1, 255)),
        ("unknown-type", Form::ask(&host, 65_280)),
        ("root", Form::ask("", 2)),
        ("longest-name", Form::ask(&longest, 1)),
        ("bytes-in-a-label", Form::ask(&below("\u{1}\u{7f}é \\"), 1)),
        ("name-server-id", Form::ask(&host, 1).edns(1232, 0, 0, &nsid)),
        ("client-subnet", Form::ask(&host, 1).edns(1232, 0, 0, &subnet)),
        ("edns-version-1", Form::ask(&host, 1).edns(1232, 1, 0, &[])),
        ("edns-twice", Form::ask(&host, 1).edns(1232, 0, 0, &[]).edns(512, 0, 0, &[])),
        ("authentic-data", Form::ask(&host, 1).flags(0x0120)),
        ("checking-disabled", Form::ask(&host, 1).flags(0x0110)),
        ("reserved-bit", Form::ask(&host, 1).flags(0x0140)),
        ("no-recursion", Form::ask(&host, 1).flags(0)),
        ("code-in-a-query", Form::ask(&host, 1).flags(0x010f)),
        ("two-questions", Form::ask(&host, 1).counts([2, 0, 0, 0]).and(&second)),
        ("no-question", Form { flags: 0x0100, counts: [0; 4], body: Vec::new() }),
        ("many-questions-claimed", Form::ask(&host, 1).counts([65_535; 4])),
        ("answers-in-a-query", Form::ask(&host, 1).counts([1, 0, 1, 0]).and(&record)),
        ("behind-the-end", Form::ask(&host, 1).and(b"more than the message says")),
        ("cut-in-the-name", Form { flags: 0x0100, counts: [1, 0, 0, 0], body: b"\x20cut".to_vec() }),
        ("garbage", Form { flags: 0x0000, counts: [9, 9, 9, 9], body: (0..=u8::MAX).rev().collect() }),
        ("pointer-to-itself", Form { flags: 0x0100, counts: [1, 0, 0, 0], body: vec![0xc0, 12, 0, 1, 0, 1] }),
        ("another-question-in-the-answer", Form::ask(&below("other"), 1)),
        ("notify", Form::ask(domain, 6).flags(4 << 11 | 0x0400)),
        ("update", Form::ask(domain, 6).flags(5 << 11).counts([1, 0, 1, 0]).and(&record)),
        ("status", Form::ask(domain, 1).flags(2 << 11)),
        ("inverse-query", Form::ask(domain, 1).flags(1 << 11)),
        ("unassigned-opcode", Form::ask(domain, 1).flags(14 << 11)),
        ("ixfr", Form::ask(domain, 251).counts([1, 0, 1, 0]).and(&record)),
        ("signed", Form::ask(&host, 1).counts([1, 0, 0, 1]).and(&[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4])),
    ]
}

fn datagrams(domain: &str) -> Vec<Question> {
    let below = |label: &str| format!("{label}.{domain}");
    let udp = |name, messages, answers| Question { name, messages, answers, manner: Manner::Udp, plain: false };
    let host = Form::ask(&below("host"), 1);
    let ids = |ids: &[u16]| ids.iter().map(|id| host.with_id(*id)).collect::<Vec<_>>();
    let same = ["one", "two", "three"].map(|label| Form::ask(&below(label), 1).with_id(7)).to_vec();
    vec![
        udp("id-0", ids(&[0]), 1),
        udp("id-65535", ids(&[u16::MAX]), 1),
        udp("ids-one-after-the-other", ids(&[1, 2, 3, 4, 5, 6, 7, 8]), 8),
        udp("same-id-three-names", same, 3),
        udp("same-query-twice", ids(&[9, 9]), 2),
        udp("axfr-by-datagram", vec![Form::ask(domain, 252).message()], 1),
        udp("fragments", vec![Form::ask(&below("huge"), 16).edns(65_535, 0, 0, &[]).message()], 1),
        udp("query-in-fragments", vec![padded(host.message(), 9_000)], 1),
        udp("eleven-bytes", vec![host.message().into_iter().take(11).collect()], 1),
        udp("an-answer", vec![Form::ask(&below("host"), 1).flags(0x8180).message()], 1),
        udp("silence", vec![Form::ask(&below("silent"), 1).message()], 1),
    ]
}

fn connections(domain: &str) -> Vec<Question> {
    let below = |label: &str| format!("{label}.{domain}");
    let tcp = |name, messages, answers| Question { name, messages, answers, manner: Manner::Tcp, plain: false };
    let (host, late) = (Form::ask(&below("host"), 1), Form::ask(&below("late"), 16));
    let pipelined = || vec![late.with_id(1), host.with_id(2), Form::ask(&below("nx"), 1).with_id(3)];
    vec![
        tcp("axfr", vec![Form::ask(domain, 252).message()], 3),
        tcp("ixfr-in-parts", vec![Form::ask(domain, 251).message()], 3),
        tcp("pipelined-out-of-order", pipelined(), 3),
        Question { manner: Manner::TcpInPieces, ..tcp("in-pieces", pipelined(), 3) },
        Question { manner: Manner::TcpAndFinish, ..tcp("and-finish", vec![host.message()], 1) },
        tcp("zero-length", vec![Vec::new(), host.message()], 2),
        tcp("three-bytes", vec![vec![1, 2, 3], host.message()], 2),
        tcp(
            "an-answer-and-a-query",
            vec![
                host.with_id(1)
                    .iter()
                    .copied()
                    .enumerate()
                    .map(|(at, byte)| if at == 2 { byte | 0x80 } else { byte })
                    .collect(),
                host.with_id(2),
            ],
            1,
        ),
        tcp("largest-query", vec![padded(host.message(), 65_535)], 1),
        tcp("two-large-queries", vec![padded(host.with_id(1), 40_000), padded(host.with_id(2), 40_000)], 2),
        tcp("server-closes", vec![Form::ask(&below("close"), 1).message(), host.message()], 2),
        tcp("silent-then-another", vec![Form::ask(&below("silent"), 1).with_id(1), host.with_id(2)], 1),
        tcp("a-hundred", (0..100).map(|id| host.with_id(id)).collect(), 100),
    ]
}

#[cfg(test)]
mod tests;
