// A `polyblk serve` child that several methods share: one process, one volume, several sockets. The first method that starts makes the
// volume and the process; the last one that is disposed ends it. The runner starts and ends methods one after the other.

using System.Text.Json;

namespace Polyblk.Compare.Methods;

/// <summary>How to run this program as a child.</summary>
/// <param name="Command">The program and what precedes its arguments.</param>
public sealed record PolyblkProgram(IReadOnlyList<string> Command);

/// <summary>A volume served by a child process.</summary>
public sealed class PolyblkServer(PolyblkProgram program, string volume, string level, IReadOnlyList<int> queuesOfSockets)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly List<string> _commands = [];
    private ChildProcess? _child;
    private int _users;

    public int ProcessId => _child!.Id;

    public IReadOnlyList<string> Commands => _commands;

    public static string SocketPath(ScratchSpace scratch, string volume, int index) => scratch.PathOf($"{volume}{index}.sock");

    /// <summary>Starts the child unless it runs.</summary>
    /// <exception cref="MethodException">It does not start.</exception>
    public async Task AddUserAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        if (_child is null)
        {
            await CreateAsync(scratch, cancellation).ConfigureAwait(false);
            await ServeAsync(scratch, cancellation).ConfigureAwait(false);
        }

        _users++;
    }

    public async ValueTask RemoveUserAsync()
    {
        if (--_users == 0 && _child is not null)
        {
            await _child.DisposeAsync().ConfigureAwait(false);
            _child = null;
        }
    }

    private async Task CreateAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        int members = level == "none" ? 1 : scratch.Members;
        string[] drives = [.. Enumerable.Range(0, members).Select(i => $"file:{scratch.PathOf($"{volume}-member{i}.img")},size={scratch.MemberBytes}")];
        await using ChildProcess child = Run(
            [.. program.Command, "volume", "create", volume, "--level", level, "--state", scratch.PathOf("state"), .. drives], []);
        (int exitCode, _) = await child.FinishAsync(cancellation).ConfigureAwait(false);
        if (exitCode != 0)
        {
            throw new MethodException($"The scratch volume could not be made: {child.LastErrors}");
        }
    }

    private async Task ServeAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        string[] groups =
        [
            .. queuesOfSockets.SelectMany((queues, i) => new[]
            {
                "--frontend", "vhost-user", "--socket", SocketPath(scratch, volume, i), "--queues", $"{queues}",
            }),
        ];
        ChildProcess child = Run(
            [
                .. program.Command, "serve", volume, "--state", scratch.PathOf("state"), "--reactors", string.Join(',', scratch.TargetCpus),
                "--json", "--log-level", "warning", .. groups,
            ],
            scratch.TargetCpus);
        string? line = null;
        try
        {
            line = await child.Output.ReadLineAsync(cancellation).AsTask().WaitAsync(s_patience, cancellation).ConfigureAwait(false);
            using JsonDocument ready = JsonDocument.Parse(line ?? throw new MethodException($"'polyblk serve' ended: {child.LastErrors}"));
            _child = child;
        }
        catch (Exception e) when (e is JsonException or TimeoutException)
        {
            throw new MethodException($"'polyblk serve' did not become ready ({line}): {child.LastErrors}", e);
        }
        finally
        {
            if (_child is null)
            {
                await child.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    private ChildProcess Run(string[] command, IReadOnlyList<int> cpus)
    {
        ChildProcess child = ChildProcess.Start(command, cpus);
        _commands.Add(child.CommandLine);
        return child;
    }
}
