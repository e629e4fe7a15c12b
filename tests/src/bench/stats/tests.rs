use super::*;

fn latencies(micros: impl IntoIterator<Item = u64>) -> Latencies {
    let mut latencies = Latencies::default();
    for micros in micros {
        latencies.push(Duration::from_micros(micros));
    }
    latencies
}

#[test]
fn percentiles_are_those_of_the_sorted_latencies() {
    let [p0, p50, p99] = latencies((0..=100).rev()).percentiles([0.0, 50.0, 99.0]).unwrap();
    assert!((p0, p50, p99) == (0.0, 50.0, 99.0), "{p0} {p50} {p99}");
}

#[test]
fn nothing_measured_is_no_figure() {
    assert!(Latencies::default().percentiles([50.0]).is_err());
    assert!(median([]).is_nan());
}

#[test]
fn a_sample_counts_answers_by_the_second() {
    let sample = Sample::new(latencies([10; 50]), Duration::from_millis(500)).unwrap();
    assert!((sample.rate - 100.0).abs() < 1e-9, "{sample:?}");
}

#[test]
fn the_median_is_the_middle() {
    assert!((median([9.0, 1.0, 5.0]) - 5.0).abs() < 1e-9);
    assert!((median([4.0, 1.0, 2.0, 9.0]) - 3.0).abs() < 1e-9);
}
