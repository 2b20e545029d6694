using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Polyblk.Volumes.Tests;

/// <summary>QEMU's machine protocol over a Unix socket: one command at a time; events are passed over.</summary>
internal sealed class QmpClient : IDisposable
{
    private readonly StreamReader _reader;
    private readonly StreamWriter _writer;

    private QmpClient(Stream stream)
    {
        _reader = new StreamReader(stream);
        _writer = new StreamWriter(stream) { AutoFlush = true };
    }

    /// <summary>Connects, as soon as the socket is there, and leaves the negotiation mode.</summary>
    public static async Task<QmpClient> ConnectAsync(string path)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        while (!File.Exists(path))
        {
            await Task.Delay(50, patience.Token);
        }

        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), patience.Token);
        var client = new QmpClient(new NetworkStream(socket, ownsSocket: true));
        await client._reader.ReadLineAsync(patience.Token);
        await client.RunAsync("qmp_capabilities");
        return client;
    }

    /// <summary>Runs a command and returns its result.</summary>
    /// <exception cref="InvalidOperationException">QEMU refused it.</exception>
    public async Task<JsonNode?> RunAsync(string command, object? arguments = null)
    {
        await _writer.WriteLineAsync(JsonSerializer.Serialize(new { execute = command, arguments = arguments ?? new { } }));
        while (await _reader.ReadLineAsync() is string line)
        {
            JsonNode answer = JsonNode.Parse(line)!;
            if (answer["error"] is JsonNode error)
            {
                throw new InvalidOperationException($"{command}: {error["desc"]}");
            }

            if (answer.AsObject().ContainsKey("return"))
            {
                return answer["return"];
            }
        }

        throw new InvalidOperationException($"{command}: QEMU has gone.");
    }

    public void Dispose()
    {
        _reader.Dispose();
        _writer.Dispose();
    }
}
