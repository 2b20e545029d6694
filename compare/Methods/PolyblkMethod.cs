using Polyblk.Compare.Load;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Methods;

/// <summary>A frontend of this program on this host: one export of a server.</summary>
/// <param name="facts">What is known of it.</param>
/// <param name="description">What is measured, in one line.</param>
/// <param name="server">Who serves it.</param>
/// <param name="export">Which of the server's exports.</param>
/// <param name="check">Whether it can run here.</param>
/// <param name="endpoint">From where the server says that it is reached, and how much is used, to where the load goes.</param>
public sealed class PolyblkMethod(
    MethodFacts facts, string description, PolyblkServer server, int export, Func<MethodAvailability> check, Func<string, long, LoadEndpoint> endpoint)
    : IDeliveryMethod
{
    /// <summary>
    /// Takes away what the server leaves in place while somebody has it open: a device of the kernel. Null where there is none.
    /// </summary>
    public Func<ScratchSpace, Task>? CleanUp { get; init; }

    public MethodFacts Facts => facts;

    public string Description => description;

    public MethodAvailability Check() => check();

    public object Drives => server;

    public object? TurnIn(ScratchSpace scratch) => scratch?.Volume is null ? null : server;

    public Task StartAheadAsync(ScratchSpace scratch, CancellationToken cancellation) => server.StartAheadAsync(scratch, cancellation);

    public async Task AbandonAsync(ScratchSpace scratch)
    {
        if (await server.AbandonAsync().ConfigureAwait(false) && CleanUp is not null)
        {
            await CleanUp(scratch).ConfigureAwait(false);
        }
    }

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        try
        {
            await server.AddUserAsync(scratch, cancellation).ConfigureAwait(false);
        }
        catch when (CleanUp is not null)
        {
            await CleanUp(scratch).ConfigureAwait(false);
            throw;
        }

        return new Running(server, export, scratch, endpoint, CleanUp);
    }

    private sealed class Running(
        PolyblkServer server, int export, ScratchSpace scratch, Func<string, long, LoadEndpoint> endpoint, Func<ScratchSpace, Task>? cleanUp)
        : IRunningMethod, IRestartable
    {
        public LoadEndpoint Endpoint => endpoint(server.Endpoints[export], scratch.SpanBytes) with { Kept = scratch.Volume?.Kept };

        public IReadOnlyList<int> ProcessIds => server.ProcessIds;

        public IReadOnlyList<string> Commands => server.Commands;

        public string? WhyEnded => server.WhyEnded;

        public long? ReadNotifications() => server.ReadNotifications(export);

        public Task KillAsync() => server.KillAsync();

        public Task StartAgainAsync(CancellationToken cancellation) => server.StartAgainAsync(scratch, cancellation);

        public Task SuspendAsync() => server.SuspendAsync();

        public Task ResumeAsync(CancellationToken cancellation) => server.StartAgainAsync(scratch, cancellation);

        public async ValueTask DisposeAsync()
        {
            await server.RemoveUserAsync().ConfigureAwait(false);
            if (cleanUp is not null && !server.IsUsed)
            {
                await cleanUp(scratch).ConfigureAwait(false);
            }
        }
    }
}
