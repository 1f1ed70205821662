import Testing

@testable import Observability

@Suite("A page of metrics")
struct MetricsPageTests {
    @Test("is Prometheus' text format, with labels escaped")
    func page() {
        var page = MetricsPage()
        page.add("culvert_a", .gauge, "One.", [.init(7)])
        page.add("culvert_b_total", .counter, "Two.", [.init(1, ["x": "a\"b\\c\nd"]), .init(2, ["x": "y", "z": ""])])
        page.add("culvert_c", .gauge, "None.", [])
        #expect(
            page.text == """
                # HELP culvert_a One.
                # TYPE culvert_a gauge
                culvert_a 7
                # HELP culvert_b_total Two.
                # TYPE culvert_b_total counter
                culvert_b_total{x="a\\"b\\\\c\\nd"} 1
                culvert_b_total{x="y",z=""} 2
                # HELP culvert_c None.
                # TYPE culvert_c gauge

                """)
    }
}
