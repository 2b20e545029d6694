// The way out of an NBD connection: replies of finished requests become one segment list, and the socket takes it bit by bit.

using Polyblk.Core.Block;

namespace Polyblk.Frontends.Nbd;

internal sealed unsafe partial class NbdConnection
{
    private void SendReplies()
    {
        while (!_closing && !_outputFull && (_readyFirst is not null || _outputStart != _outputEnd))
        {
            QueueReplies();
            long sent = NbdSyscalls.writev(_fd, _output + _outputStart, _outputEnd - _outputStart);
            if (sent is -Errno.EAGAIN or -Errno.EINTR)
            {
                _outputFull = true;
                return;
            }

            if (sent < 0)
            {
                _closing = true;
                return;
            }

            Advance(sent);
        }
    }

    /// <summary>Moves finished requests into the segment list, as many as fit.</summary>
    private void QueueReplies()
    {
        if (_outputStart == _outputEnd)
        {
            _outputStart = _outputEnd = 0;
        }

        while (_readyFirst is { } slot && _outputEnd + 1 + slot.VectorCount <= OutputVectors)
        {
            _readyFirst = slot.Next;
            if (_readyFirst is null)
            {
                _readyLast = null;
            }

            int length = slot.BuildReply(_options.StructuredReplies);
            _output[_outputEnd++] = new IoVec(slot.Header, (nuint)length);
            _queuedBytes += length;
            if (slot.Command == NbdCommand.Read && slot.Status == 0)
            {
                for (int i = 0; i < slot.VectorCount; i++)
                {
                    _output[_outputEnd++] = slot.Vectors[i];
                }

                _queuedBytes += slot.LengthBytes;
            }

            slot.EndPosition = _queuedBytes;
            slot.Next = null;
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

        while (_sendingFirst is { } slot && slot.EndPosition <= _sentBytes)
        {
            _sendingFirst = slot.Next;
            if (_sendingFirst is null)
            {
                _sendingLast = null;
            }

            Free(slot);
        }
    }

    private void Free(NbdSlot slot)
    {
        _arena.Return(slot.Vectors, slot.VectorCount);
        slot.VectorCount = 0;
        _freeSlots[_freeCount++] = slot;
    }
}
