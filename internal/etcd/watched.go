package etcd

import (
	"context"
	"errors"
	"io"
	"path"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// watched has failed told of every call, and of every stream, that does not do what it should. A caller that gave up, and
// what etcd says is not there, is no failure.
func watched(failed func(method, code string)) []grpc.DialOption {
	look := func(ctx context.Context, method string, err error) {
		if err == nil || errors.Is(err, io.EOF) || errors.Is(ctx.Err(), context.Canceled) {
			return
		}
		if code := status.Code(err); code != codes.Canceled && code != codes.NotFound {
			failed(path.Base(method), code.String())
		}
	}
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn,
			call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := call(ctx, method, request, answer, conn, opts...)
			look(ctx, method, err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
			open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, conn, method, opts...)
			look(ctx, method, err)
			if err != nil {
				return nil, err
			}
			return &watchedStream{stream, func(err error) { look(ctx, method, err) }}, nil
		}),
	}
}

type watchedStream struct {
	grpc.ClientStream
	look func(error)
}

func (s *watchedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	s.look(err)
	return err
}
