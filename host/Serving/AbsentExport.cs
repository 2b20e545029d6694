using Polyblk.Frontends;

namespace Polyblk.Host.Serving;

/// <summary>
/// An export that could not be made when its volume was started for others: it is shown as failed, with the reason, and can be
/// tried again or removed.
/// </summary>
internal sealed class AbsentExport(IFrontend frontend, ExportSpec spec, FrontendGroup group) : IExport
{
    /// <summary>What it is to be.</summary>
    public FrontendGroup Group => group;

    /// <inheritdoc/>
    public string Id => spec.Id;

    /// <inheritdoc/>
    public string Frontend => frontend.Name;

    /// <summary>The socket that was asked for; nothing else is known.</summary>
    public ExportEndpoint Endpoint { get; } =
        new(frontend.IsDevice ? EndpointKind.BlockDevice : EndpointKind.UnixSocket, spec.SocketPath ?? string.Empty);

    /// <inheritdoc/>
    public IReadOnlyList<AttachCommand> AttachCommands => [];

    /// <inheritdoc/>
    public IReadOnlyList<string> Notes => [];

    /// <inheritdoc/>
    public Task Completion => Task.CompletedTask;

    /// <inheritdoc/>
    public ExportStatistics GetStatistics() => new();

    /// <inheritdoc/>
    public Task ResizeAsync(CancellationToken cancellation) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task DrainAsync(CancellationToken cancellation) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task ResumeAsync(CancellationToken cancellation) => Task.CompletedTask;

    /// <inheritdoc/>
    public Task StopAsync(StopMode mode, CancellationToken cancellation) => Task.CompletedTask;

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
