// A member of a consumer group, and a producer, with java.net.http alone. (Java has no JSON of its own: records stay text here.)
// java Member.java consume GROUP TOPIC, or: java Member.java produce TOPIC < FILE
import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;

class Member {
    static final HttpClient CLIENT = HttpClient.newHttpClient();
    static final ScheduledExecutorService TIMER = Executors.newSingleThreadScheduledExecutor();

    /** Does the work. A record comes again if this program or the collector dies before it is committed. */
    static void handle(String record) { System.out.println(record); }

    static HttpResponse<InputStream> ask(String path, String body, String... headers) throws Exception {
        var url = System.getenv().getOrDefault("SKIDWAY_URL", "http://127.0.0.1:7070");
        var request = HttpRequest.newBuilder(URI.create(url + path)).headers(headers).timeout(Duration.ofMinutes(1));
        if (body != null) request.POST(HttpRequest.BodyPublishers.ofString(body));
        var answer = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
        if (answer.statusCode() != 200 && answer.statusCode() != 409)
            throw new IOException(answer + " " + new String(answer.body().readAllBytes()));
        return answer;
    }

    static void commit(String group, String token) throws Exception {
        var body = "{\"token\":\"" + token + "\"}"; // 409 is fenced: what has moved to another member is read there again
        ask("/v1/groups/" + group + "/commit", body, "Content-Type", "application/json").body().readAllBytes();
    }

    static Void consume(String group, String topic) throws Exception {
        var path = "/v1/groups/" + group + "/records?topics=" + topic + "&tokens=true";
        try (var body = ask(path, null, "Accept", "application/x-ndjson").body()) {
            var lines = new BufferedReader(new InputStreamReader(body, "UTF-8"));
            for (int done = 0; ; ) {
                var silence = TIMER.schedule(() -> { body.close(); return null; }, 60, TimeUnit.SECONDS); // 15 s at most
                var line = lines.readLine();
                silence.cancel(false);
                if (line == null || line.startsWith("{\"error\"")) throw new IOException("the stream ended: " + line);
                boolean isRecord = line.startsWith("{\"topic\"");
                if (isRecord) { handle(line); done++; }
                if (done == 100 || (done > 0 && !isRecord)) { // with a control line, or every 100 records
                    commit(group, line.substring(line.lastIndexOf("\"next\":\"") + 8, line.lastIndexOf('"')));
                    done = 0;
                }
            }
        }
    }

    static <T> T patiently(Callable<T> work) throws InterruptedException {
        while (true) {
            try { return work.call(); } catch (Exception error) { System.err.println("trying again soon: " + error); }
            Thread.sleep(1000 + new Random().nextInt(2000)); // not all clients at once
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("consume")) patiently(() -> consume(args[1], args[2]));
        var input = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        var producer = UUID.randomUUID().toString();
        String line;
        for (int seq = 0; (line = input.readLine()) != null; seq++) { // a request a line: sent again, it is stored once
            String body = line + "\n", number = "" + seq;
            patiently(() -> ask("/v1/topics/" + args[1] + "/records", body, "Content-Type", "text/plain",
                "Producer-Id", producer, "Producer-Epoch", "0", "Producer-Seq", number).body().readAllBytes());
        }
        TIMER.shutdown();
    }
}
