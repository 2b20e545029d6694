// A daemon as a process, in a sandbox, with a systemd of the test's that it tells how it is.

using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

/// <summary>Starts and ends daemons, and asks them.</summary>
public abstract class DaemonProcessTestBase : IDisposable
{
    protected const int SigKill = 9;
    protected const int SigTerm = 15;
    protected const int BlockBytes = 64 << 10;
    protected const int Blocks = 48;
    protected const int InFlight = 16;
    protected static readonly TimeSpan Patience = TimeSpan.FromSeconds(120);

    private readonly Socket _systemd = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);

    protected DaemonProcessTestBase() => _systemd.Bind(new UnixDomainSocketEndPoint(Sandbox.PathOf("notify")));

    private protected PolyblkSandbox Sandbox { get; } = new();

    /// <summary>The daemon that was started last.</summary>
    protected SystemProcess? Daemon { get; private set; }

    public virtual void Dispose()
    {
        if (Daemon is { HasExited: false })
        {
            Daemon.Kill();
            Daemon.WaitForExit();
        }

        Daemon?.Dispose();
        _systemd.Dispose();
        Sandbox.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected VhostUserClient Attach(string name, bool inflight = false) => new(new VhostUserClientOptions
    {
        SocketPath = Socket(name), Queues = 1, Depth = InFlight, BufferBytes = BlockBytes, Inflight = inflight,
    });

    protected void Create(string name) => Create(name, []);

    protected void Create(string name, params string[] options)
    {
        IEnumerable<string> drives = Enumerable.Range(0, 3).Select(i => $"file:{Member(name, i)},size=16MiB");
        Sandbox.Must(["volume", "create", name, "--level", "raid5", .. options, .. drives]);
    }

    /// <summary>Starts the daemon, and waits until it tells systemd that it is ready.</summary>
    /// <returns>What it told.</returns>
    protected string Start(params string[] options) => Start(_ => { }, options);

    /// <summary>The same; the lines of its standard error go to somebody.</summary>
    protected string Start(Action<string> onError, params string[] options)
    {
        SystemProcess daemon = Sandbox.Start(["daemon", .. options], TellUs);
        daemon.ErrorDataReceived += (_, line) => onError(line.Data ?? string.Empty);
        daemon.BeginErrorReadLine();
        return Follow(daemon);
    }

    /// <summary>Takes a process for the daemon that was started last, and waits until it says that it is ready.</summary>
    protected string Follow(SystemProcess daemon)
    {
        Daemon?.Dispose();
        Daemon = daemon;
        return Told("READY=1");
    }

    /// <summary>Makes this test the systemd of a process.</summary>
    protected void TellUs(ProcessStartInfo start) => start.Environment["NOTIFY_SOCKET"] = Sandbox.PathOf("notify");

    /// <summary>What systemd is told next that begins so.</summary>
    protected string Told(string beginning)
    {
        _systemd.ReceiveTimeout = (int)Patience.TotalMilliseconds;
        while (true)
        {
            byte[] bytes = new byte[4096];
            string told = Encoding.UTF8.GetString(bytes, 0, _systemd.Receive(bytes));
            if (told.StartsWith(beginning, StringComparison.Ordinal))
            {
                return told;
            }
        }
    }

    protected int End(int signal)
    {
        Assert.Equal(0, Libc.kill(Daemon!.Id, signal));
        return WaitForEnd(Daemon);
    }

    protected static int WaitForEnd(SystemProcess process)
    {
        Assert.True(process.WaitForExit(Patience), "the daemon did not end");
        return process.ExitCode;
    }

    protected (string Id, string State)[] Exports() =>
    [
        .. Sandbox.Must("export", "list", "--json").Json.EnumerateArray()
            .Select(e => (e.GetProperty("id").GetString()!, e.GetProperty("state").GetString()!)),
    ];

    /// <summary>What the API answers to a GET.</summary>
    protected JsonElement Api(string path) => JsonDocument.Parse(ApiText(path)).RootElement;

    /// <summary>The same, as it comes.</summary>
    protected string ApiText(string path)
    {
        using var client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellation) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                string api = Path.Combine(Sandbox.State, "run", "_daemon", "api.sock");
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(api), cancellation);
                return new NetworkStream(socket, ownsSocket: true);
            },
        });
        string text = string.Empty;
        Wait.Until(() => (text = Ask()).Length > 0, "the API");
        return text;

        string Ask()
        {
            try
            {
                return client.GetStringAsync(new Uri("http://polyblk" + path)).GetAwaiter().GetResult();
            }
            catch (HttpRequestException e) when (e.StatusCode is null)
            {
                return string.Empty; // It comes after the exports, and after the word to systemd.
            }
        }
    }

    protected JsonElement Show(string volume) => Sandbox.Must("volume", "show", volume, "--json").Json;

    protected string Socket(string name) => Sandbox.PathOf(name + ".sock");

    protected string Member(string volume, int index) => Sandbox.PathOf($"{volume}{index}");
}
