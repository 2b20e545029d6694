// The way out of an NBD connection: replies of finished requests become one segment list, and the socket takes it bit by bit.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Nbd;

internal sealed unsafe partial class NbdConnection
{
    private void SendReplies()
    {
        while (!_closing && !_outputFull && (_readyFirst is not null || _outputStart != _outputEnd))
        {
            if (_mute)
            {
                DropReplies();
                return;
            }

            QueueReplies();
            long sent = Libc.writev(_fd, _output + _outputStart, _outputEnd - _outputStart);
            if (sent == -Errno.EAGAIN)
            {
                _outputFull = true;
                _lane.WatchPatience();
                return;
            }

            if (sent < 0 && sent != -Errno.EINTR)
            {
                // After NBD_CMD_DISC all that was asked for before is done, though nobody is there to be told.
                _mute = _ending && !_leaving;
                _closing = !_mute;
                continue;
            }

            Advance(Math.Max(sent, 0));
            _quantum -= (int)Math.Max(sent, 0);
            if (_quantum <= 0)
            {
                return;
            }
        }
    }

    /// <summary>Moves finished requests into the segment list, as many as fit.</summary>
    private void QueueReplies()
    {
        if (_outputStart == _outputEnd)
        {
            _outputStart = _outputEnd = 0;
        }

        while (_readyFirst is { } slot && _outputEnd + 1 + slot.BlockCount <= OutputVectors)
        {
            TakeReady();
            int length = slot.BuildReply(_options.StructuredReplies);
            _output[_outputEnd++] = new IoVec(slot.Header, (nuint)length);
            _queuedBytes += length;
            if (slot.Command == NbdCommand.Read && slot.Status == 0)
            {
                RewindData(slot);
                _ = slot.Data.Take(slot.LengthBytes, _output + _outputEnd, slot.BlockCount, out int count);
                _outputEnd += count;
                _queuedBytes += slot.LengthBytes;
            }

            slot.EndPosition = _queuedBytes;
            if (_sendingLast is null)
            {
                _sendingFirst = slot;
            }
            else
            {
                _sendingLast.Next = slot;
            }

            _sendingLast = slot;
        }
    }

    private NbdSlot TakeReady()
    {
        NbdSlot slot = _readyFirst!;
        _readyFirst = slot.Next;
        slot.Next = null;
        if (_readyFirst is null)
        {
            _readyLast = null;
        }

        return slot;
    }

    private NbdSlot TakeSent()
    {
        NbdSlot slot = _sendingFirst!;
        _sendingFirst = slot.Next;
        slot.Next = null;
        if (_sendingFirst is null)
        {
            _sendingLast = null;
        }

        return slot;
    }

    /// <summary>Moves past what the socket took, and frees the requests whose replies are out.</summary>
    private void Advance(long sent)
    {
        _sentBytes += sent;
        while (sent != 0)
        {
            IoVec* head = _output + _outputStart;
            if ((nuint)sent < head->Length)
            {
                head->Base += sent;
                head->Length -= (nuint)sent;
                break;
            }

            sent -= (long)head->Length;
            _outputStart++;
        }

        while (_sendingFirst is not null && _sendingFirst.EndPosition <= _sentBytes)
        {
            Free(TakeSent());
            _replyCount++;
        }
    }

    private void DropReplies()
    {
        while (_sendingFirst is not null)
        {
            Free(TakeSent());
        }

        while (_readyFirst is not null)
        {
            Free(TakeReady());
        }

        _outputStart = _outputEnd = 0;
    }

    private void Free(NbdSlot slot)
    {
        ReturnBlocks(slot);
        _freeSlots.Return(slot.Index);
    }

    private void ReturnBlocks(NbdSlot slot)
    {
        if (slot.BlockCount == 0)
        {
            return;
        }

        _heldBlocks -= slot.BlockCount;
        _lane.Return(this, _heldBlocks, slot.FirstBlock, slot.BlockCount);
        slot.BlockCount = 0;
    }
}
