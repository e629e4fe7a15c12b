use std::io;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Link {
    text: &'static str,
    source: Option<Box<dyn Error + 'static>>,
}

fn chain(texts: &[&'static str], root: impl Error + 'static) -> Box<dyn Error + 'static> {
    texts.iter().rev().fold(Box::new(root), |source, text| Box::new(Link { text, source: Some(source) }))
}

#[test]
fn every_cause_is_told_once() {
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    assert_eq!(error_chain(&refused()), "connection refused");
    let told = error_chain(&*chain(&["cannot ask", "cannot connect"], refused()));
    assert_eq!(told, "cannot ask: cannot connect: connection refused");
    let repeats = error_chain(&*chain(&["cannot ask", "no way: connection refused"], refused()));
    assert_eq!(repeats, "cannot ask: no way: connection refused");
}
