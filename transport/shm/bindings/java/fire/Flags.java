package fire;

/** Flags of the examples, and their JSON lines. */
final class Flags {
    String socket = System.getenv().getOrDefault("FIRE_DIRECT", "/run/fire/attach"), channel = "", service = "";
    long count; // 0: until the channel is shut
    int bytes = 48, readers, rate; // rate: messages a second, 0: as many as go

    Flags(String[] args) {
        for (int i = 0; i + 1 < args.length; i += 2) {
            String v = args[i + 1];
            switch (args[i]) {
                case "--socket": socket = v; break;
                case "--channel": channel = v; break;
                case "--service": service = v; break;
                case "--count": count = Long.parseLong(v); break;
                case "--bytes": bytes = Integer.parseInt(v); break;
                case "--readers": readers = Integer.parseInt(v); break;
                case "--rate": rate = Integer.parseInt(v); break;
                default: throw new IllegalArgumentException("no such flag: " + args[i]);
            }
        }
    }

    /** Attaches, or says why not and returns null. */
    End attach(int side) {
        try {
            End e = new End(socket, channel, service, side);
            say("attached", "channel", channel, "service", e.serviceName());
            return e;
        } catch (RingException e) {
            if (e.code == RingException.REFUSED) {
                say("refused", "reason", e.reason, "text", e.getMessage());
            } else {
                say("failed", "code", e.code, "text", e.getMessage());
            }
            return null;
        }
    }

    /** Prints {"event": event, name: value, ...}. */
    static void say(String event, Object... what) {
        StringBuilder b = new StringBuilder("{\"event\": ").append(quoted(event));
        for (int i = 0; i < what.length; i += 2) {
            b.append(',').append(quoted((String) what[i])).append(':').append(what[i + 1] instanceof String ? quoted((String) what[i + 1]) : what[i + 1]);
        }
        System.out.println(b.append('}'));
    }

    private static String quoted(String s) {
        StringBuilder b = new StringBuilder("\"");
        for (char c : s.toCharArray()) {
            if (c == '"' || c == '\\') {
                b.append('\\').append(c);
            } else if (c < ' ') {
                b.append(String.format("\\u%04x", (int) c));
            } else {
                b.append(c);
            }
        }
        return b.append('"').toString();
    }
}
