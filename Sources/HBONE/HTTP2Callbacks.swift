import CNGHTTP2

/// The user data of a session, which does not own it.
private func connection(_ user: UnsafeMutableRawPointer?) -> Unmanaged<HBONEConnection> { .fromOpaque(user!) }

/// nghttp2's callbacks, which only find their connection and hand over.
enum HTTP2Callbacks {
    /// nghttp2 copies the table into each session.
    nonisolated(unsafe) private static let table: OpaquePointer = makeTable()

    /// The session calls the connection that is its user data, without owning it.
    static func makeSession(role: HBONERole, limits: HBONELimits) -> OpaquePointer {
        var option: OpaquePointer?
        nghttp2_option_new(&option)
        defer { nghttp2_option_del(option) }
        nghttp2_option_set_no_auto_window_update(option, 1)
        nghttp2_option_set_no_closed_streams(option, 1)
        // What a CONNECT may look like is checked in HTTP2FieldBlock, so that a bad one is answered and not just reset.
        nghttp2_option_set_no_http_messaging(option, 1)
        nghttp2_option_set_max_outbound_ack(option, limits.pendingAcknowledgementsMax)
        nghttp2_option_set_max_settings(option, limits.settingsEntriesMax)
        nghttp2_option_set_stream_reset_rate_limit(option, limits.streamResetBurst, limits.streamResetsPerSecond)
        var session: OpaquePointer?
        let made =
            role == .server
            ? nghttp2_session_server_new2(&session, table, nil, option)
            : nghttp2_session_client_new2(&session, table, nil, option)
        guard made == 0, let session else { preconditionFailure("nghttp2 is out of memory") }
        submitSettings(session, role, limits)
        return session
    }

    private static func submitSettings(_ session: OpaquePointer, _ role: HBONERole, _ limits: HBONELimits) {
        func entry(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
            nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: value)
        }
        let headerBytes = role == .server ? limits.serverHeaderBytesMax : limits.clientHeaderBytesMax
        let settings = [
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, UInt32(limits.streamWindow)),
            entry(NGHTTP2_SETTINGS_MAX_FRAME_SIZE, limits.maxFrameSize),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(headerBytes)),
            role == .server
                ? entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.maxConcurrentStreams)
                : entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0),
        ]
        let none = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        let submitted = nghttp2_submit_settings(session, none, settings, settings.count)
        let widened = nghttp2_session_set_local_window_size(session, none, 0, limits.connectionWindow)
        precondition(submitted == 0 && widened == 0, "limits that HTTP/2 does not allow")
    }

    private static func makeTable() -> OpaquePointer {
        var made: OpaquePointer?
        nghttp2_session_callbacks_new(&made)
        guard let table = made else { preconditionFailure("nghttp2 is out of memory") }
        nghttp2_session_callbacks_set_on_begin_headers_callback(table) { _, frame, user in
            connection(user)._withUnsafeGuaranteedRef { $0.didBeginHeaders(frame!.pointee) }
            return 0
        }
        nghttp2_session_callbacks_set_on_header_callback(table) {
            _, frame, name, nameLength, value, valueLength, _, user in
            connection(user)._withUnsafeGuaranteedRef {
                $0.fields.add(
                    name: UnsafeBufferPointer(start: name, count: nameLength),
                    value: UnsafeBufferPointer(start: value, count: valueLength))
                return $0.boundHeaderBlock()
            }
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(table) { _, frame, user in
            connection(user)._withUnsafeGuaranteedRef { $0.didReceive(frame!.pointee) }
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table) { _, _, stream, _, count, user in
            connection(user)._withUnsafeGuaranteedRef { $0.didReceiveData(stream, count) }
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(table) { _, stream, code, user in
            connection(user)._withUnsafeGuaranteedRef { $0.didClose(stream, code) }
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(table) { _, frame, user in
            connection(user)._withUnsafeGuaranteedRef { $0.didSend(frame!.pointee) }
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_not_send_callback(table) { _, frame, _, user in
            connection(user)._withUnsafeGuaranteedRef { $0.didNotSend(frame!.pointee) }
            return 0
        }
        nghttp2_session_callbacks_set_error_callback2(table) { _, _, text, length, user in
            connection(user)._withUnsafeGuaranteedRef {
                $0.nghttp2Said = String(
                    decoding: UnsafeRawBufferPointer(start: text, count: min(length, 256)), as: UTF8.self)
            }
            return 0
        }
        return table
    }

    /// Of every stream's body.
    static var dataProvider: nghttp2_data_provider {
        nghttp2_data_provider(source: nghttp2_data_source(fd: 0)) { _, stream, _, _, flags, _, user in
            connection(user)._withUnsafeGuaranteedRef { $0.pullBody(stream, flags!) }
        }
    }
}
