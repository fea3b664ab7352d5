/*
 * Text scenarios for stream: one session, packets and expectations, a line each.
 *
 *   set midstream | async | inline | depth N | max-segs N | memcap N     before the first packet
 *   isn > N, isn < N          initial sequence number of a side (default 1000, 5000); later: of its new session
 *   > FLAGS|"DATA" [key=N]    a packet to the server; < to the client. FLAGS of S A F R P U. Keys: seq and ack
 * (relative to the ISNs: the SYN is 0, the first byte 1; without them: what comes next), win, ws, ts, urg, fin, noack,
 * tfo, len (N bytes 'x'), dport, sport at SECONDS                the clock goes on finish                    the flow
 * ends = toserver|toclient "DATA" | gap DIR N | eof DIR | none | new-session | state NAME = verdict [!]FLAG... | event
 * NAME | no-events | counter NAME N
 *
 * Every delivery must be expected. Data of neighbouring deliveries joins.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

/* Runs a file; failures go to stderr with line and reason. Returns their number. */
int scenario_run(const char *path);

#endif
