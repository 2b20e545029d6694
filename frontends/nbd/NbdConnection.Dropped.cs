namespace Polyblk.Frontends.Nbd;

/// <summary>The end of a connection by an error of ours.</summary>
internal sealed unsafe partial class NbdConnection
{
    private bool _dropped;

    /// <summary>Nobody polls this connection any more: it ends without what it would still have to send.</summary>
    public void OnDropped(Exception error)
    {
        ArgumentNullException.ThrowIfNull(error);
        Break($"an error of ours ended the connection ({error.GetType().Name}: {error.Message})");
        _drained?.TrySetResult();

        // What the device still holds points into memory that goes with the connection: with requests there, it is kept until
        // they are back.
        _dropped = true;
        CloseWhenDropped();
    }

    private void CloseWhenDropped()
    {
        if (_dropped && _atDevice == 0)
        {
            _closed.TrySetResult();
        }
    }
}
