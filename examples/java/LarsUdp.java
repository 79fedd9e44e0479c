// A Lars caller over UDP, with Java's standard library only: copy the class without main and what main uses.
//
// Before every call of a service ask the agent on this machine which host to call, and afterwards tell it how the call
// went. A question and its answer are one datagram each, so either can be lost: the question is asked again after a
// while, and an answer is ours only when it carries our number (an answer that comes too late is left over for the next
// call). Reports are not answered; a lost one costs the statistics one call.
//
// An object is for one thread; make one per thread.
//
// From the command line it makes calls that are not really made, to try an agent (Java 17, nothing to compile first):
//   java LarsUdp.java --agent 127.0.0.1:8888 --module 1.1 --calls 1000 --fail 127.0.0.1:9001
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.PortUnreachableException;
import java.net.SocketTimeoutException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Collectors;

public final class LarsUdp implements AutoCloseable {
  /** Where to call. `ip` is dotted. */
  public record Host(String ip, int port) {}

  /** The agent answered that there is no host to call now. */
  public static final class NoHost extends Exception {
    public final int retcode;

    NoHost(int modid, int cmdid, int retcode) {
      super("module " + modid + "." + cmdid + ": " + switch (retcode) {
        case 1 -> "every host is overloaded, do not call now";
        case 2 -> "the agent failed";
        case 3 -> "no such module, or not yet known";
        default -> "unknown return code";
      } + " (" + retcode + ")");
      this.retcode = retcode;
    }
  }

  /** The agent did not answer: it is not running, or every datagram was lost. */
  public static final class NoAnswer extends IOException {
    NoAnswer(String message) {
      super(message);
    }
  }

  private static final int GET_HOST_REQUEST = 4;
  private static final int GET_HOST_RESPONSE = 5;
  private static final int REPORT_REQUEST = 6;
  /** Part of the protocol: the module says which of the agent's ports to ask. */
  private static final int SHARDS = 3;

  private final DatagramSocket[] sockets = new DatagramSocket[SHARDS];
  private final byte[] received = new byte[65535];
  private final int timeoutMs;
  private final int retries;
  private int seq = ThreadLocalRandom.current().nextInt();

  /** `port` is the first of three in a row. `timeoutMs`: how long to wait for an answer before asking again. */
  public LarsUdp(String host, int port, int timeoutMs, int retries) throws IOException {
    this.timeoutMs = timeoutMs;
    this.retries = retries;
    for (int shard = 0; shard < SHARDS; shard++) {
      sockets[shard] = new DatagramSocket();
      // So that only this port's answers come in, and a dead agent is noticed.
      sockets[shard].connect(new InetSocketAddress(host, port + shard));
    }
  }

  public LarsUdp(String host, int port) throws IOException {
    this(host, port, 500, 2);
  }

  @Override
  public void close() {
    for (DatagramSocket socket : sockets) socket.close();
  }

  public Host getHost(int modid, int cmdid) throws NoHost, IOException {
    seq++;
    Message body = new Message().number(1, Integer.toUnsignedLong(seq)).number(2, modid).number(3, cmdid);
    DatagramSocket socket = socketOf(modid, cmdid);
    for (int attempt = 0; attempt <= retries; attempt++) {
      send(socket, body.frame(GET_HOST_REQUEST));
      Map<Integer, Object> answer = answer(socket, System.nanoTime() + timeoutMs * 1_000_000L);
      if (answer == null) continue;
      int retcode = number(answer, 4);
      if (retcode != 0) throw new NoHost(modid, cmdid, retcode);
      Map<Integer, Object> host = answer.get(5) instanceof ByteBuffer bytes ? fields(bytes) : Map.of();
      byte[] ip = ByteBuffer.allocate(4).putInt(number(host, 1)).array();
      return new Host(InetAddress.getByAddress(ip).getHostAddress(), number(host, 2));
    }
    throw new NoAnswer("module " + modid + "." + cmdid + ": the agent did not answer " + (1 + retries) + " times in "
        + timeoutMs + " ms");
  }

  /** `retcode` 0: the call succeeded; anything else: it failed. `latencyUs`: what it took, 0 for not measured. */
  public void report(int modid, int cmdid, Host host, int retcode, long latencyUs) throws IOException {
    int ip = ByteBuffer.wrap(InetAddress.getByName(host.ip()).getAddress()).getInt();
    Message body = new Message().number(1, modid).number(2, cmdid)
        .message(3, new Message().number(1, ip).number(2, host.port())).number(4, retcode).number(16, latencyUs);
    try {
      send(socketOf(modid, cmdid), body.frame(REPORT_REQUEST));
    } catch (PortUnreachableException noAgent) {
      // nobody to tell
    }
  }

  private DatagramSocket socketOf(int modid, int cmdid) {
    // Deployed clients take the remainder of a C int; a negative one leaves its port open, and ours is the owner's.
    return sockets[Math.floorMod(modid + cmdid, SHARDS)];
  }

  private static void send(DatagramSocket socket, byte[] frame) throws IOException {
    DatagramPacket packet = new DatagramPacket(frame, frame.length);
    try {
      socket.send(packet);
    } catch (PortUnreachableException earlier) {
      socket.send(packet); // the refusal was of an earlier datagram, and this one has not left
    }
  }

  /** The fields of the answer that carries our number, or null when the time is up. */
  private Map<Integer, Object> answer(DatagramSocket socket, long deadlineNs) throws IOException {
    for (;;) {
      long leftMs = (deadlineNs - System.nanoTime() + 999_999) / 1_000_000;
      if (leftMs <= 0) return null;
      socket.setSoTimeout((int) leftMs);
      DatagramPacket packet = new DatagramPacket(received, received.length);
      try {
        socket.receive(packet);
      } catch (SocketTimeoutException timeUp) {
        return null;
      } catch (PortUnreachableException noAgent) {
        pause(leftMs); // it may be starting again
        return null;
      }
      ByteBuffer datagram = ByteBuffer.wrap(received, 0, packet.getLength()).order(ByteOrder.LITTLE_ENDIAN);
      if (datagram.remaining() < 8 || datagram.getInt() != GET_HOST_RESPONSE) continue;
      if (datagram.getInt() != datagram.remaining()) continue;
      try {
        Map<Integer, Object> answer = fields(datagram);
        if (number(answer, 1) == seq) return answer;
      } catch (BufferUnderflowException | IllegalArgumentException malformed) {
        // not an answer
      }
    }
  }

  private static void pause(long ms) throws IOException {
    try {
      Thread.sleep(ms);
    } catch (InterruptedException stop) {
      Thread.currentThread().interrupt();
      throw new NoAnswer("interrupted while waiting for the agent");
    }
  }

  // The wire: an 8-byte header (message id, length of the rest) and protobuf fields, all numbers as varints.

  private static final class Message {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(64);

    /** A negative int is sent as 64 bits, ten bytes. Zero is not sent. */
    Message number(int field, long value) {
      if (value != 0) {
        varint(field << 3);
        varint(value);
      }
      return this;
    }

    Message message(int field, Message inner) {
      varint(field << 3 | 2);
      varint(inner.bytes.size());
      bytes.writeBytes(inner.bytes.toByteArray());
      return this;
    }

    private void varint(long value) {
      while ((value & ~0x7FL) != 0) {
        bytes.write((int) (value & 0x7F | 0x80));
        value >>>= 7;
      }
      bytes.write((int) value);
    }

    byte[] frame(int msgid) {
      ByteBuffer frame = ByteBuffer.allocate(8 + bytes.size()).order(ByteOrder.LITTLE_ENDIAN);
      return frame.putInt(msgid).putInt(bytes.size()).put(bytes.toByteArray()).array();
    }
  }

  /** The fields by number; those of later protocol versions are among them and nobody asks for them. */
  private static Map<Integer, Object> fields(ByteBuffer body) {
    Map<Integer, Object> fields = new TreeMap<>();
    while (body.hasRemaining()) {
      int tag = (int) readVarint(body);
      Object value = switch (tag & 7) {
        case 0 -> readVarint(body);
        case 1 -> body.getLong();
        case 2 -> {
          int length = (int) readVarint(body);
          if (length < 0 || length > body.remaining()) throw new BufferUnderflowException();
          ByteBuffer inner = body.slice(body.position(), length);
          body.position(body.position() + length);
          yield inner;
        }
        case 5 -> body.getInt();
        default -> throw new IllegalArgumentException("wire type " + (tag & 7));
      };
      fields.put(tag >>> 3, value);
    }
    return fields;
  }

  private static long readVarint(ByteBuffer body) {
    long value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      byte next = body.get();
      value |= (long) (next & 0x7F) << shift;
      if (next >= 0) return value;
    }
    throw new IllegalArgumentException("a number of more than ten bytes");
  }

  /** The low 32 bits as a signed number: IPs from 128.0.0.0 up are negative. Absent is 0. */
  private static int number(Map<Integer, Object> fields, int field) {
    return fields.get(field) instanceof Long value ? value.intValue() : 0;
  }

  // The command line: pick a host, report how the call went, again and again, and count. LarsUdp and LarsHttp each have
  // it whole, because a Java program that is run without a build is one file.

  public static void main(String[] args) throws Exception {
    String agent = "127.0.0.1:8888";
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
    try (LarsUdp client = new LarsUdp(agent.substring(0, colon), Integer.parseInt(agent.substring(colon + 1)))) {
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
        usage: java LarsUdp.java --module MODULE [--module …] [--agent HOST:PORT] [--calls N] [--fail HOST …] [--json]
          --agent HOST:PORT  the first of the agent's three UDP ports (default 127.0.0.1:8888)
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
