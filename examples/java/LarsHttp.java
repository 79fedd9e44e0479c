// A Lars caller over HTTP, with Java's standard library only: copy the class without main and what main uses.
//
// For programs that cannot or would rather not speak the UDP protocol. The same agent answers from the same routes, so
// both kinds of callers are balanced together. The HTTP client keeps connections open and uses them again.
//
// Several threads may share an object.
//
// From the command line it makes calls that are not really made, to try an agent (Java 17, nothing to compile first):
//   java LarsHttp.java --agent 127.0.0.1:8880 --module 1.1 --calls 1000 --fail 127.0.0.1:9001
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public final class LarsHttp implements AutoCloseable {
  /** Where to call. `ip` is dotted. */
  public record Host(String ip, int port) {}

  /** The agent answered that there is no host to call now. `retcode` is what it would have said over UDP. */
  public static final class NoHost extends Exception {
    public final int retcode;

    NoHost(int retcode, String detail) {
      super(detail);
      this.retcode = retcode;
    }
  }

  /** The agent was not reached, or its answer is not one of an agent. */
  public static final class NoAnswer extends IOException {
    NoAnswer(String message, Throwable cause) {
      super(message, cause);
    }
  }

  private static final Duration TIMEOUT = Duration.ofSeconds(2);
  // The answer is a flat object that the agent writes; a program that has a JSON library uses it here.
  private static final Pattern IP = Pattern.compile("\"ip\":\"([0-9.]+)\"");
  private static final Pattern PORT = Pattern.compile("\"port\":(\\d+)");

  private final HttpClient http =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(TIMEOUT).build();
  private final String url;

  public LarsHttp(String host, int port) {
    this.url = "http://" + host + ":" + port;
  }

  /** Connections close by themselves; a try block may hold this object like the UDP one. */
  @Override
  public void close() {}

  public Host getHost(int modid, int cmdid) throws NoHost, NoAnswer {
    HttpResponse<String> answer = send(request("/v1/hosts/" + modid + "/" + cmdid).GET().build());
    switch (answer.statusCode()) {
      case 200:
        Matcher ip = IP.matcher(answer.body());
        Matcher port = PORT.matcher(answer.body());
        if (ip.find() && port.find()) return new Host(ip.group(1), Integer.parseInt(port.group(1)));
        throw unexpected(answer);
      case 404:
        throw new NoHost(3, answer.body());
      case 503: // every host is overloaded, or the route has not come yet: Retry-After says when to ask again
        throw new NoHost(1, answer.body());
      default:
        throw unexpected(answer);
    }
  }

  /** `retcode` 0: the call succeeded; anything else: it failed. `latencyUs`: what it took, 0 for not measured. */
  public void report(int modid, int cmdid, Host host, int retcode, long latencyUs) throws NoAnswer {
    String body = String.format(Locale.ROOT,
        "{\"modid\":%d,\"cmdid\":%d,\"ip\":\"%s\",\"port\":%d,\"retcode\":%d,\"latencyUs\":%d}",
        modid, cmdid, host.ip(), host.port(), retcode, latencyUs);
    HttpResponse<String> answer = send(request("/v1/reports").header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(body)).build());
    if (answer.statusCode() != 204) throw unexpected(answer);
  }

  private HttpRequest.Builder request(String path) {
    return HttpRequest.newBuilder(URI.create(url + path)).timeout(TIMEOUT);
  }

  private HttpResponse<String> send(HttpRequest request) throws NoAnswer {
    try {
      return http.send(request, HttpResponse.BodyHandlers.ofString());
    } catch (IOException error) {
      throw new NoAnswer(request.method() + " " + request.uri() + ": " + error.getMessage(), error);
    } catch (InterruptedException stop) {
      Thread.currentThread().interrupt();
      throw new NoAnswer("interrupted while waiting for the agent", stop);
    }
  }

  private static NoAnswer unexpected(HttpResponse<String> answer) {
    return new NoAnswer("the agent answered " + answer.statusCode() + ": " + answer.body(), null);
  }

  // The command line: pick a host, report how the call went, again and again, and count. LarsUdp and LarsHttp each have
  // it whole, because a Java program that is run without a build is one file.

  public static void main(String[] args) throws Exception {
    String agent = "127.0.0.1:8880";
    List<String> modules = new ArrayList<>();
    Set<String> failing = new HashSet<>();
    int calls = 1000;
    boolean json = false;
    for (int i = 0; i < args.length; i++) {
      switch (args[i]) {
        case "--json" -> json = true;
        case "--agent" -> agent = valueOf(args, ++i);
        case "--module" -> modules.addAll(lines(valueOf(args, ++i)));
        case "--fail" -> failing.addAll(lines(valueOf(args, ++i)));
        case "--calls" -> calls = Integer.parseInt(valueOf(args, ++i));
        default -> usage();
      }
    }
    int colon = agent.lastIndexOf(':');
    if (modules.isEmpty() || calls < 1 || colon < 1) usage();

    Map<String, Integer> answers = new TreeMap<>();
    Map<String, int[]> hosts = new TreeMap<>(); // "modid.cmdid ip:port" to {ok, failed}
    long[] nanoseconds = new long[calls];
    int timeouts = 0;
    int unreported = 0;
    long began = System.nanoTime();
    try (LarsHttp client = new LarsHttp(agent.substring(0, colon), Integer.parseInt(agent.substring(colon + 1)))) {
      for (int i = 0; i < calls; i++) {
        String module = modules.get(i % modules.size());
        int dot = module.indexOf('.');
        int modid = (int) Long.parseLong(module.substring(0, dot));
        int cmdid = (int) Long.parseLong(module.substring(dot + 1));
        Host host;
        long asked = System.nanoTime();
        try {
          host = client.getHost(modid, cmdid);
        } catch (NoHost refused) {
          answers.merge(String.valueOf(refused.retcode), 1, Integer::sum);
          continue;
        } catch (NoAnswer silent) {
          timeouts++;
          continue;
        } finally {
          nanoseconds[i] = System.nanoTime() - asked;
        }
        answers.merge("0", 1, Integer::sum);
        String endpoint = host.ip() + ":" + host.port();
        String named = module + " " + endpoint;
        boolean failed = failing.contains(endpoint) || failing.contains(named);
        try {
          client.report(modid, cmdid, host, failed ? 1 : 0, 0);
        } catch (NoAnswer silent) {
          unreported++;
          continue;
        }
        hosts.computeIfAbsent(named, name -> new int[2])[failed ? 1 : 0]++;
      }
    }
    double seconds = (System.nanoTime() - began) / 1e9;
    Arrays.sort(nanoseconds);
    double p50 = nanoseconds[calls / 2] / 1e3;
    double p99 = nanoseconds[(int) (calls * 99L / 100)] / 1e3;
    if (json) {
      String answersJson = answers.entrySet().stream().map(answer -> "\"" + answer.getKey() + "\":" + answer.getValue())
          .collect(Collectors.joining(","));
      String hostsJson = hosts.entrySet().stream().map(host -> String.format("\"%s\":{\"ok\":%d,\"failed\":%d}",
          host.getKey(), host.getValue()[0], host.getValue()[1])).collect(Collectors.joining(","));
      System.out.printf(Locale.ROOT, "{\"picks\":%d,\"answers\":{%s},\"timeouts\":%d,\"unreported\":%d,\"hosts\":{%s},"
          + "\"seconds\":%.3f,\"p50Us\":%.1f,\"p99Us\":%.1f}%n",
          calls, answersJson, timeouts, unreported, hostsJson, seconds, p50, p99);
    } else {
      System.out.printf(Locale.ROOT, "%d picks in %.2f s (%.0f/s), p50 %.1f us, p99 %.1f us%n",
          calls, seconds, calls / seconds, p50, p99);
      answers.forEach((retcode, count) -> System.out.println("  return code " + retcode + ": " + count));
      if (timeouts > 0) System.out.println("  not answered: " + timeouts);
      if (unreported > 0) System.out.println("  reports not taken: " + unreported);
      hosts.forEach((named, counts) -> System.out.println("  " + named + ": " + counts[0] + " ok, " + counts[1] + " failed"));
    }
    if (timeouts == calls) {
      System.err.println("no agent answered at " + agent);
      System.exit(1);
    }
  }

  private static String valueOf(String[] args, int at) {
    if (at >= args.length) usage();
    return args[at];
  }

  private static void usage() {
    System.err.println("""
        usage: java LarsHttp.java --module MODULE [--module …] [--agent HOST:PORT] [--calls N] [--fail HOST …] [--json]
          --agent HOST:PORT  the agent's HTTP port (default 127.0.0.1:8880)
          --module MODULE    modid.cmdid, or @file with one a line; repeatable
          --calls N          pairs of a pick and a report, in turn over the modules (default 1000)
          --fail HOST        ip:port, or @file with lines "modid.cmdid ip:port"; repeatable
          --json             print the summary as one JSON object""");
    System.exit(2);
  }

  /** The value itself; when it begins with @, the lines of that file that are not empty and no # comment. */
  private static List<String> lines(String value) throws IOException {
    if (!value.startsWith("@")) return List.of(value);
    return Files.readAllLines(Path.of(value.substring(1))).stream().map(String::strip)
        .filter(line -> !line.isEmpty() && !line.startsWith("#")).toList();
  }
}
