/* The table of keywords, sorted by name (a test holds it so). Those without a handler are known to Suricata, not to us.
 */
#include <string.h>
#include <strings.h>

#include "parse.h"

#define LATER(name)                                                                                                    \
    {                                                                                                                  \
        name, NULL, 0, 0, "not supported yet"                                                                          \
    }

const struct rule_keyword rule_keywords[] = {
    /* clang-format off */
    LATER("absent"),
    {"ack", kw_value, KW_VAL | KW_PACKET, RM_TCP_ACK, "TCP acknowledgement"},
    {"alert", kw_alert, KW_NONE, 0, "the rule alerts; a pass rule too"},
    LATER("app-layer-event"),
    {"app-layer-protocol", kw_app_proto, KW_VAL | KW_NEG, RM_APP_PROTO, "protocol that was detected"},
    LATER("app-layer-state"),
    LATER("asn1"),
    LATER("base64_data"),
    LATER("base64_decode"),
    {"bsize", kw_bsize, KW_VAL, 0, "size of the sticky buffer"},
    LATER("bypass"),
    {"byte_extract", kw_byte_extract, KW_VAL, 0, "keep a number in a variable"},
    {"byte_jump", kw_byte_jump, KW_VAL, 0, "move by a number in the bytes"},
    {"byte_math", kw_byte_math, KW_VAL, 0, "compute with a number in the bytes"},
    {"byte_test", kw_byte_test, KW_VAL, 0, "compare a number in the bytes"},
    LATER("cip_service"),
    {"classtype", kw_classtype, KW_VAL, 0, "class, which gives the priority"},
    {"compress_whitespace", kw_transform, KW_NONE, RULE_XF_COMPRESS_WHITESPACE, "transform of the sticky buffer"},
    LATER("config"),
    {"content", kw_content, KW_VAL | KW_QUOTED | KW_NEG, 0, "bytes"},
    LATER("datarep"),
    LATER("dataset"),
    LATER("dce_iface"),
    LATER("dce_opnum"),
    LATER("dce_stub_data"),
    LATER("dcerpc.iface"),
    LATER("dcerpc.opnum"),
    LATER("dcerpc.stub_data"),
    {"decode-event", kw_event, KW_VAL | KW_PACKET, RM_DECODE_EVENT, "event of the decoder"},
    {"depth", kw_depth, KW_VAL, 0, "content lies within the first bytes"},
    {"detection_filter", kw_detection_filter, KW_VAL, 0, "alert only past a rate"},
    {"distance", kw_distance, KW_VAL, 0, "content starts so far after the match before it"},
    LATER("dnp3_data"),
    LATER("dnp3_func"),
    LATER("dnp3_ind"),
    LATER("dnp3_obj"),
    LATER("dns.additionals.rrname"),
    LATER("dns.answer.name"),
    LATER("dns.answers.rrname"),
    LATER("dns.authorities.rrname"),
    LATER("dns.opcode"),
    LATER("dns.queries.rrname"),
    LATER("dns.query"),
    LATER("dns.query.name"),
    LATER("dns.rcode"),
    LATER("dns.response.rrname"),
    LATER("dns.rrtype"),
    LATER("dns_query"),
    LATER("domain"),
    {"dotprefix", kw_transform, KW_NONE, RULE_XF_DOTPREFIX, "transform of the sticky buffer"},
    {"dsize", kw_number, KW_VAL | KW_PACKET, RM_DSIZE, "size of the payload"},
    LATER("email.from"),
    LATER("email.subject"),
    LATER("email.to"),
    LATER("email.url"),
    {"endswith", kw_endswith, KW_NONE, 0, "content ends the buffer"},
    LATER("engine-event"),
    LATER("enip_command"),
    LATER("entropy"),
    {"fast_pattern", kw_fast_pattern, KW_OPT, 0, "content by which the rule is found"},
    {"file.data", kw_sticky, KW_NONE, RULE_BUF_FILE_DATA, "sticky buffer"},
    LATER("file.magic"),
    LATER("file.name"),
    {"file_data", kw_sticky, KW_NONE, RULE_BUF_FILE_DATA, "older name of file.data"},
    LATER("fileext"),
    LATER("filemagic"),
    LATER("filemd5"),
    LATER("filename"),
    LATER("filesha1"),
    LATER("filesha256"),
    LATER("filesize"),
    LATER("filestore"),
    {"flags", kw_tcp_flags, KW_VAL | KW_PACKET, RM_TCP_FLAGS, "TCP flags"},
    {"flow", kw_flow, KW_VAL, 0, "direction and state of the flow"},
    LATER("flow.age"),
    LATER("flow.bytes"),
    LATER("flow.bytes_toclient"),
    LATER("flow.bytes_toserver"),
    LATER("flow.elephant"),
    LATER("flow.pkts"),
    LATER("flow.pkts_toclient"),
    LATER("flow.pkts_toserver"),
    {"flowbits", kw_flowbits, KW_VAL, 0, "marks on the flow"},
    LATER("flowint"),
    LATER("flowvar"),
    {"fragbits", kw_fragbits, KW_VAL | KW_PACKET, RM_FRAGBITS, "IP fragment flags"},
    {"fragoffset", kw_fragoffset, KW_VAL | KW_PACKET, RM_FRAGOFFSET, "IP fragment offset"},
    LATER("frame"),
    LATER("from_base64"),
    LATER("ftp.command"),
    LATER("ftp.command_data"),
    LATER("ftp.completion_code"),
    LATER("ftp.dynamic_port"),
    LATER("ftp.mode"),
    LATER("ftp.reply"),
    LATER("ftp.reply_received"),
    LATER("ftpbounce"),
    LATER("ftpdata_command"),
    LATER("geneve.vni"),
    LATER("geoip"),
    {"gid", kw_gid, KW_VAL, 0, "group of the rule"},
    LATER("gunzip"),
    {"header_lowercase", kw_transform, KW_NONE, RULE_XF_HEADER_LOWERCASE, "transform of the sticky buffer"},
    LATER("hostbits"),
    {"http.accept", kw_sticky, KW_NONE, RULE_BUF_HTTP_ACCEPT, "sticky buffer"},
    {"http.accept_enc", kw_sticky, KW_NONE, RULE_BUF_HTTP_ACCEPT_ENC, "sticky buffer"},
    {"http.accept_lang", kw_sticky, KW_NONE, RULE_BUF_HTTP_ACCEPT_LANG, "sticky buffer"},
    {"http.connection", kw_sticky, KW_NONE, RULE_BUF_HTTP_CONNECTION, "sticky buffer"},
    {"http.content_len", kw_sticky, KW_NONE, RULE_BUF_HTTP_CONTENT_LEN, "sticky buffer"},
    {"http.content_type", kw_sticky, KW_NONE, RULE_BUF_HTTP_CONTENT_TYPE, "sticky buffer"},
    {"http.cookie", kw_sticky, KW_NONE, RULE_BUF_HTTP_COOKIE, "sticky buffer"},
    {"http.header", kw_sticky, KW_NONE, RULE_BUF_HTTP_HEADER, "sticky buffer"},
    {"http.header.raw", kw_sticky, KW_NONE, RULE_BUF_HTTP_HEADER_RAW, "sticky buffer"},
    {"http.header_names", kw_sticky, KW_NONE, RULE_BUF_HTTP_HEADER_NAMES, "sticky buffer"},
    {"http.host", kw_sticky, KW_NONE, RULE_BUF_HTTP_HOST, "sticky buffer"},
    {"http.host.raw", kw_sticky, KW_NONE, RULE_BUF_HTTP_HOST_RAW, "sticky buffer"},
    LATER("http.host_header"),
    {"http.location", kw_sticky, KW_NONE, RULE_BUF_HTTP_LOCATION, "sticky buffer"},
    {"http.method", kw_sticky, KW_NONE, RULE_BUF_HTTP_METHOD, "sticky buffer"},
    {"http.protocol", kw_sticky, KW_NONE, RULE_BUF_HTTP_PROTOCOL, "sticky buffer"},
    {"http.referer", kw_sticky, KW_NONE, RULE_BUF_HTTP_REFERER, "sticky buffer"},
    {"http.request_body", kw_sticky, KW_NONE, RULE_BUF_HTTP_REQUEST_BODY, "sticky buffer"},
    {"http.request_header", kw_sticky, KW_NONE, RULE_BUF_HTTP_REQUEST_HEADER, "sticky buffer"},
    {"http.request_line", kw_sticky, KW_NONE, RULE_BUF_HTTP_REQUEST_LINE, "sticky buffer"},
    {"http.response_body", kw_sticky, KW_NONE, RULE_BUF_HTTP_RESPONSE_BODY, "sticky buffer"},
    {"http.response_header", kw_sticky, KW_NONE, RULE_BUF_HTTP_RESPONSE_HEADER, "sticky buffer"},
    {"http.response_line", kw_sticky, KW_NONE, RULE_BUF_HTTP_RESPONSE_LINE, "sticky buffer"},
    {"http.server", kw_sticky, KW_NONE, RULE_BUF_HTTP_SERVER, "sticky buffer"},
    {"http.start", kw_sticky, KW_NONE, RULE_BUF_HTTP_START, "sticky buffer"},
    {"http.stat_code", kw_sticky, KW_NONE, RULE_BUF_HTTP_STAT_CODE, "sticky buffer"},
    {"http.stat_msg", kw_sticky, KW_NONE, RULE_BUF_HTTP_STAT_MSG, "sticky buffer"},
    {"http.uri", kw_sticky, KW_NONE, RULE_BUF_HTTP_URI, "sticky buffer"},
    {"http.uri.raw", kw_sticky, KW_NONE, RULE_BUF_HTTP_URI_RAW, "sticky buffer"},
    {"http.user_agent", kw_sticky, KW_NONE, RULE_BUF_HTTP_USER_AGENT, "sticky buffer"},
    LATER("http2.errorcode"),
    LATER("http2.frametype"),
    LATER("http2.header"),
    LATER("http2.header_name"),
    LATER("http2.priority"),
    LATER("http2.settings"),
    LATER("http2.size_update"),
    LATER("http2.window"),
    {"http_accept", kw_sticky, KW_NONE, RULE_BUF_HTTP_ACCEPT, "older name of http.accept"},
    {"http_accept_enc", kw_sticky, KW_NONE, RULE_BUF_HTTP_ACCEPT_ENC, "older name of http.accept_enc"},
    {"http_accept_lang", kw_sticky, KW_NONE, RULE_BUF_HTTP_ACCEPT_LANG, "older name of http.accept_lang"},
    {"http_client_body", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_REQUEST_BODY, "the content before it is matched on http.request_body"},
    {"http_connection", kw_sticky, KW_NONE, RULE_BUF_HTTP_CONNECTION, "older name of http.connection"},
    {"http_content_len", kw_sticky, KW_NONE, RULE_BUF_HTTP_CONTENT_LEN, "older name of http.content_len"},
    {"http_content_type", kw_sticky, KW_NONE, RULE_BUF_HTTP_CONTENT_TYPE, "older name of http.content_type"},
    {"http_cookie", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_COOKIE, "the content before it is matched on http.cookie"},
    {"http_header", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_HEADER, "the content before it is matched on http.header"},
    {"http_header_names", kw_sticky, KW_NONE, RULE_BUF_HTTP_HEADER_NAMES, "older name of http.header_names"},
    {"http_host", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_HOST, "the content before it is matched on http.host"},
    {"http_method", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_METHOD, "the content before it is matched on http.method"},
    {"http_protocol", kw_sticky, KW_NONE, RULE_BUF_HTTP_PROTOCOL, "older name of http.protocol"},
    {"http_raw_header", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_HEADER_RAW, "the content before it is matched on http.header.raw"},
    {"http_raw_host", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_HOST_RAW, "the content before it is matched on http.host.raw"},
    {"http_raw_uri", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_URI_RAW, "the content before it is matched on http.uri.raw"},
    {"http_referer", kw_sticky, KW_NONE, RULE_BUF_HTTP_REFERER, "older name of http.referer"},
    {"http_request_line", kw_sticky, KW_NONE, RULE_BUF_HTTP_REQUEST_LINE, "older name of http.request_line"},
    {"http_response_line", kw_sticky, KW_NONE, RULE_BUF_HTTP_RESPONSE_LINE, "older name of http.response_line"},
    {"http_server_body", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_RESPONSE_BODY, "the content before it is matched on http.response_body"},
    {"http_start", kw_sticky, KW_NONE, RULE_BUF_HTTP_START, "older name of http.start"},
    {"http_stat_code", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_STAT_CODE, "the content before it is matched on http.stat_code"},
    {"http_stat_msg", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_STAT_MSG, "the content before it is matched on http.stat_msg"},
    {"http_uri", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_URI, "the content before it is matched on http.uri"},
    {"http_user_agent", kw_http_modifier, KW_NONE, RULE_BUF_HTTP_USER_AGENT, "the content before it is matched on http.user_agent"},
    {"icmp_id", kw_value, KW_VAL | KW_PACKET, RM_ICMP_ID, "ICMP identifier"},
    {"icmp_seq", kw_value, KW_VAL | KW_PACKET, RM_ICMP_SEQ, "ICMP sequence number"},
    LATER("icmpv4.hdr"),
    LATER("icmpv6.hdr"),
    LATER("icmpv6.mtu"),
    {"icode", kw_number, KW_VAL | KW_PACKET, RM_ICODE, "ICMP code"},
    {"id", kw_value, KW_VAL | KW_PACKET | KW_QUOTES, RM_IP_ID, "IP identification"},
    LATER("ike.init_spi"),
    LATER("ike.resp_spi"),
    {"ip_proto", kw_ip_proto, KW_VAL, RM_IP_PROTO, "IP protocol"},
    {"ipopts", kw_ipopts, KW_VAL | KW_PACKET, RM_IPOPTS, "IP option"},
    LATER("iprep"),
    LATER("ipv4.hdr"),
    LATER("ipv6.hdr"),
    {"isdataat", kw_isdataat, KW_VAL | KW_NEG, 0, "there are bytes at a place"},
    {"itype", kw_number, KW_VAL | KW_PACKET, RM_ITYPE, "ICMP type"},
    LATER("ja3.hash"),
    LATER("ja3.string"),
    LATER("ja3_hash"),
    LATER("ja3_string"),
    LATER("ja3s.hash"),
    LATER("ja3s.string"),
    LATER("ja4.hash"),
    LATER("kerberos.weak_encryption"),
    LATER("krb5.cname"),
    LATER("krb5.sname"),
    LATER("krb5.ticket_encryption"),
    LATER("krb5.weak_encryption"),
    LATER("krb5_err_code"),
    LATER("krb5_msg_type"),
    LATER("l3_proto"),
    LATER("ldap.request.operation"),
    LATER("lua"),
    LATER("luaxform"),
    {"metadata", kw_metadata, KW_VAL, 0, "key value pairs; sekisho_block DURATION|never"},
    LATER("modbus"),
    LATER("mqtt.protocol_version"),
    LATER("mqtt.type"),
    {"msg", kw_msg, KW_VAL | KW_QUOTED, 0, "text of the alert"},
    LATER("nfs_procedure"),
    LATER("nfs_version"),
    {"noalert", kw_noalert, KW_NONE, 0, "the rule sets bits and says nothing"},
    {"nocase", kw_nocase, KW_NONE, 0, "content in any case"},
    {"offset", kw_offset, KW_VAL, 0, "content starts at or after"},
    {"pcre", kw_pcre, KW_VAL | KW_QUOTES | KW_NEG, 0, "regular expression"},
    LATER("pcrexform"),
    LATER("pgsql.query"),
    {"pkt_data", kw_pkt_data, KW_NONE, 0, "back to the payload"},
    LATER("pktvar"),
    {"prefilter", kw_prefilter, KW_NONE, 0, "find the rule by the match before it"},
    {"priority", kw_priority, KW_VAL, 0, "1 (most urgent) to 255"},
    LATER("quic.cyu.hash"),
    LATER("quic.cyu.string"),
    LATER("quic.sni"),
    LATER("quic.ua"),
    LATER("quic.version"),
    {"rawbytes", kw_rawbytes, KW_NONE, 0, "content on bytes as they came"},
    {"reference", kw_reference, KW_VAL, 0, "type,value"},
    LATER("replace"),
    LATER("requires"),
    {"rev", kw_rev, KW_VAL, 0, "revision of the rule"},
    LATER("rfb.name"),
    LATER("rfb.secresult"),
    LATER("rfb.sectype"),
    LATER("rpc"),
    {"sameip", kw_sameip, KW_PACKET, RM_SAMEIP, "source is destination"},
    LATER("sdp.session_name"),
    {"seq", kw_value, KW_VAL | KW_PACKET, RM_TCP_SEQ, "TCP sequence number"},
    {"sid", kw_sid, KW_VAL, 0, "number of the rule"},
    LATER("sip.method"),
    LATER("sip.protocol"),
    LATER("sip.request_line"),
    LATER("sip.response_line"),
    LATER("sip.stat_code"),
    LATER("sip.stat_msg"),
    LATER("sip.uri"),
    LATER("smb.named_pipe"),
    LATER("smb.ntlmssp_domain"),
    LATER("smb.ntlmssp_user"),
    LATER("smb.share"),
    LATER("smb.version"),
    LATER("smtp.helo"),
    LATER("smtp.mail_from"),
    LATER("smtp.rcpt_to"),
    LATER("snmp.community"),
    LATER("snmp.pdu_type"),
    LATER("snmp.usm"),
    LATER("snmp.version"),
    LATER("ssh.hassh"),
    LATER("ssh.hassh.server"),
    LATER("ssh.hassh.server.string"),
    LATER("ssh.hassh.string"),
    LATER("ssh.proto"),
    LATER("ssh.protoversion"),
    LATER("ssh.software"),
    LATER("ssh.softwareversion"),
    LATER("ssh_proto"),
    LATER("ssh_software"),
    LATER("ssl_state"),
    LATER("ssl_version"),
    {"startswith", kw_startswith, KW_NONE, 0, "content starts the buffer"},
    {"stream-event", kw_event, KW_VAL | KW_PACKET, RM_STREAM_EVENT, "event of TCP reassembly"},
    {"stream_size", kw_stream_size, KW_VAL, RM_STREAM_SIZE, "bytes of a stream so far"},
    {"strip_pseudo_headers", kw_transform, KW_NONE, RULE_XF_STRIP_PSEUDO_HEADERS, "transform of the sticky buffer"},
    {"strip_whitespace", kw_transform, KW_NONE, RULE_XF_STRIP_WHITESPACE, "transform of the sticky buffer"},
    LATER("tag"),
    {"target", kw_target, KW_VAL, 0, "src_ip or dest_ip: who is attacked"},
    {"tcp.ack", kw_value, KW_VAL | KW_PACKET, RM_TCP_ACK, "TCP acknowledgement"},
    {"tcp.flags", kw_tcp_flags, KW_VAL | KW_PACKET, RM_TCP_FLAGS, "TCP flags"},
    LATER("tcp.hdr"),
    {"tcp.mss", kw_number, KW_VAL | KW_PACKET, RM_TCP_MSS, "maximum segment size"},
    {"tcp.seq", kw_value, KW_VAL | KW_PACKET, RM_TCP_SEQ, "TCP sequence number"},
    {"tcp.window", kw_value, KW_VAL | KW_PACKET, RM_TCP_WINDOW, "TCP window"},
    LATER("tcp.wscale"),
    {"threshold", kw_threshold, KW_VAL, 0, "how often the rule alerts"},
    LATER("tld"),
    LATER("tls.alpn"),
    LATER("tls.cert_chain_len"),
    LATER("tls.cert_fingerprint"),
    LATER("tls.cert_issuer"),
    LATER("tls.cert_serial"),
    LATER("tls.cert_subject"),
    LATER("tls.certs"),
    LATER("tls.fingerprint"),
    LATER("tls.issuerdn"),
    LATER("tls.random"),
    LATER("tls.random_bytes"),
    LATER("tls.random_time"),
    LATER("tls.sni"),
    LATER("tls.store"),
    LATER("tls.subject"),
    LATER("tls.subjectaltname"),
    LATER("tls.version"),
    LATER("tls_cert_expired"),
    LATER("tls_cert_fingerprint"),
    LATER("tls_cert_issuer"),
    LATER("tls_cert_notafter"),
    LATER("tls_cert_notbefore"),
    LATER("tls_cert_serial"),
    LATER("tls_cert_subject"),
    LATER("tls_cert_valid"),
    LATER("tls_sni"),
    {"to_lowercase", kw_transform, KW_NONE, RULE_XF_TO_LOWERCASE, "transform of the sticky buffer"},
    {"to_md5", kw_transform, KW_NONE, RULE_XF_TO_MD5, "transform of the sticky buffer"},
    {"to_sha1", kw_transform, KW_NONE, RULE_XF_TO_SHA1, "transform of the sticky buffer"},
    {"to_sha256", kw_transform, KW_NONE, RULE_XF_TO_SHA256, "transform of the sticky buffer"},
    {"to_uppercase", kw_transform, KW_NONE, RULE_XF_TO_UPPERCASE, "transform of the sticky buffer"},
    {"tos", kw_value, KW_VAL | KW_PACKET, RM_TOS, "type of service"},
    {"ttl", kw_number, KW_VAL | KW_PACKET, RM_TTL, "time to live or hop limit"},
    LATER("udp.hdr"),
    {"uricontent", kw_uricontent, KW_VAL | KW_QUOTED | KW_NEG, 0, "content on http.uri"},
    {"urilen", kw_urilen, KW_VAL, 0, "length of the URI"},
    {"url_decode", kw_transform, KW_NONE, RULE_XF_URL_DECODE, "transform of the sticky buffer"},
    LATER("urlencode"),
    LATER("vlan.id"),
    LATER("vlan.layers"),
    LATER("vxlan_vni"),
    LATER("websocket.opcode"),
    LATER("websocket.payload"),
    {"window", kw_value, KW_VAL | KW_PACKET, RM_TCP_WINDOW, "TCP window"},
    {"within", kw_within, KW_VAL, 0, "content lies within so many bytes after the match before it"},
    LATER("xbits"),
    LATER("xor"),
    LATER("zlib_deflate"),
    /* clang-format on */
};
const unsigned rule_keyword_count = sizeof rule_keywords / sizeof *rule_keywords;

/* Order of name (of len bytes) and a keyword. */
static int order(const char *name, size_t len, const char *kw)
{
    int c = strncmp(name, kw, len);
    return c ? c : (kw[len] ? -1 : 0);
}

const struct rule_keyword *rule_keyword_find(const char *name, size_t len)
{
    unsigned lo = 0, hi = rule_keyword_count;
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        int c = order(name, len, rule_keywords[mid].name);
        if (c == 0)
            return &rule_keywords[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

bool rule_keyword_list(unsigned i, struct rule_keyword_info *out)
{
    if (i >= rule_keyword_count)
        return false;
    const struct rule_keyword *k = &rule_keywords[i];
    *out = (struct rule_keyword_info){.name = k->name, .help = k->help, .supported = k->fn != NULL};
    return true;
}

#define NEAR_MAX 32

/* Edits (insert, delete, replace, exchange of neighbours) from a to b, both shorter than NEAR_MAX. */
static unsigned distance(const char *a, size_t la, const char *b, size_t lb)
{
    unsigned d[3][NEAR_MAX + 1];
    for (size_t j = 0; j <= lb; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        unsigned *now = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned v = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < v)
                v = up[j] + 1;
            if (now[j - 1] + 1 < v)
                v = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < v)
                v = up2[j - 2] + 1;
            now[j] = v;
        }
    }
    return d[la % 3][lb];
}

const char *rule_keyword_near(const char *name, size_t len)
{
    const char *best = NULL;
    unsigned least = len < 5 ? 2 : 3; /* fewer edits than this count as near */
    if (len >= NEAR_MAX)
        return NULL;
    for (unsigned i = 0; i < rule_keyword_count; i++) {
        size_t n = strlen(rule_keywords[i].name);
        if (n >= NEAR_MAX)
            continue;
        unsigned d = distance(name, len, rule_keywords[i].name, n);
        if (d < least) {
            least = d;
            best = rule_keywords[i].name;
        }
    }
    return best;
}
