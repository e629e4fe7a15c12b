use super::*;

#[test]
fn a_figure_is_one_json_object_without_what_it_lacks() {
    let figure =
        Figure::new("requests", "meshdog", 80.0, "1/s").ratio(DIRECT, 0.79).ratio("envoy", 4.0).at_least(0.79, 0.8);
    assert_eq!(
        serde_json::to_value(&figure).unwrap(),
        serde_json::json!({
            "figure": "requests", "leg": "meshdog", "value": 80.0, "unit": "1/s", "ratio_to_direct": 0.79,
            "ratio_to": {"envoy": 4.0}, "budget": ">= 0.8", "met": false,
        })
    );
}

#[test]
fn budgets_are_met_from_their_own_side() {
    let figure = || Figure::new("f", "l", 1.0, "ms");
    assert_eq!(figure().at_most(200.0, 200.0).met, Some(true));
    assert_eq!(figure().at_most(200.1, 200.0).met, Some(false));
    assert_eq!(figure().at_least(0.80, 0.80).met, Some(true));
    assert_eq!(figure().at_least(f64::NAN, 0.80).met, Some(false));
}

#[test]
fn the_table_has_a_heading_for_each_figure() {
    let figures = [
        Figure::new("requests", "direct", 100_000.0, "1/s").latency(64.0, 120.5),
        Figure::new("memory", "idle", 9.25, "MiB").at_most(9.25, 12.0),
        Figure::new("requests", "meshdog", 80_000.0, "1/s").ratio(DIRECT, 0.8).at_least(0.8, 0.8),
    ];
    insta::assert_snapshot!(table(&figures), @r"
    requests
                    value  p50 us  p99 us  of direct  budget  met  other ratios
      direct   100000 1/s    64.0     120
      meshdog   80000 1/s                       0.80  >= 0.8  yes

    memory
                    value  p50 us  p99 us  of direct  budget  met  other ratios
      idle       9.25 MiB                             <= 12   yes
    ");
}
