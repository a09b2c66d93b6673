import Testing

@testable import KVClient

@Suite("Ranges and endpoints")
struct RangeAndEndpointTests {
    @Test("a prefix ends at the first key behind all keys that have it")
    func prefixEnd() {
        #expect(KeyRange.prefix([0x61]).end == [0x62])
        #expect(KeyRange.prefix([0x61, 0xff]).end == [0x62])
        #expect(KeyRange.prefix([0xff, 0xff]).end == [0])
    }

    @Test("the empty prefix, and an empty first key, mean every key")
    func everything() {
        #expect(KeyRange.prefix([]).start == [0] && KeyRange.prefix([]).end == [0])
        #expect(KeyRange.from([]).start == [0] && KeyRange.from([]).end == [0])
        #expect(KeyRange.key([1]).end.isEmpty)
    }

    @Test(
        "an endpoint is a URL, an address with a port, or a host alone",
        arguments: [
            ("http://10.0.0.1:22379", "10.0.0.1", 22_379), ("localhost:1", "localhost", 1),
            ("http://a.example/", "a.example", 2_379), ("[::1]:2379", "::1", 2_379),
        ])
    func endpoint(text: String, host: String, port: Int) throws {
        let endpoint = try Endpoint(text)
        #expect(endpoint.host == host && endpoint.port == port && endpoint.description == text)
    }

    @Test(
        "what is no endpoint is refused, with what is wrong",
        arguments: [
            "https://a:1", "a:0", "a:70000", "a:x", ":2379", "", "a/b:1", "[::1]x", "unix://s",
        ])
    func invalidEndpoint(text: String) {
        let error = #expect(throws: KVClientError.self) { try Endpoint(text) }
        #expect(error?.kind == .invalidEndpoint)
        #expect(error?.description.contains("http://HOST:PORT") == true)
    }

    @Test("a list of endpoints is separated by commas and not empty")
    func list() throws {
        #expect(try Endpoint.list("a:1,b:2").map(\.port) == [1, 2])
        #expect(throws: KVClientError.self) { try Endpoint.list(",") }
    }
}
