// Pion as a WebRTC stack, driven by JSON lines (see lib/stacks.mjs). It has no codecs: it hands on RTP.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

type request struct {
	ID   int             `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

type arguments struct {
	SDP        string `json:"sdp"`
	Connection string `json:"connection"`
	Mid        string `json:"mid"`
	Base64     []byte `json:"base64"`
	Audio      *struct {
		SSRC uint32 `json:"ssrc"`
	} `json:"audio"`
	Video *struct {
		SSRC uint32 `json:"ssrc"`
	} `json:"video"`
	Candidate webrtc.ICECandidateInit `json:"candidate"`
}

type description struct {
	SDP string `json:"sdp"`
}

var writing sync.Mutex

func say(message map[string]any) {
	writing.Lock()
	defer writing.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(message)
}

type stack struct {
	guard       sync.Mutex
	connections map[string]*webrtc.PeerConnection
	sending     map[string]*webrtc.TrackLocalStaticRTP
	receiving   map[string]*webrtc.TrackRemote
	channel     *webrtc.DataChannel
	open        chan struct{}
}

func (s *stack) connection(name string) (*webrtc.PeerConnection, error) {
	s.guard.Lock()
	defer s.guard.Unlock()
	if one := s.connections[name]; one != nil {
		return one, nil
	}
	one, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	s.connections[name] = one
	one.OnDataChannel(listen)
	one.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		mid := ""
		for _, transceiver := range one.GetTransceivers() {
			if transceiver.Receiver() == receiver {
				mid = transceiver.Mid()
			}
		}
		s.guard.Lock()
		s.receiving[mid] = track
		s.guard.Unlock()
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if bytes, err := packet.Marshal(); err == nil {
				say(map[string]any{"event": "rtp", "mid": mid, "base64": bytes})
			}
		}
	})
	return one, nil
}

func listen(channel *webrtc.DataChannel) {
	channel.OnMessage(func(message webrtc.DataChannelMessage) {
		say(map[string]any{"event": "data", "base64": message.Data})
	})
}

// local sets a description and waits until it has all of our candidates.
func local(one *webrtc.PeerConnection, made webrtc.SessionDescription, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	gathered := webrtc.GatheringCompletePromise(one)
	if err := one.SetLocalDescription(made); err != nil {
		return nil, err
	}
	<-gathered
	return description{one.LocalDescription().SDP}, nil
}

func (s *stack) offer(args arguments) (any, error) {
	one, err := s.connection("publisher")
	if err != nil {
		return nil, err
	}
	add := func(mid, mime string) error {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, mid+"-track", "stack")
		if err != nil {
			return err
		}
		sender, err := one.AddTrack(track)
		if err != nil {
			return err
		}
		// Reports must be read for the interceptors to see them.
		go func() {
			for {
				if _, _, err := sender.ReadRTCP(); err != nil {
					return
				}
			}
		}()
		s.sending[mid] = track
		return nil
	}
	if args.Audio != nil {
		if err := add("audio", webrtc.MimeTypeOpus); err != nil {
			return nil, err
		}
	}
	if args.Video != nil {
		if err := add("video", webrtc.MimeTypeVP8); err != nil {
			return nil, err
		}
	}
	if s.channel, err = one.CreateDataChannel("_reliable", nil); err != nil {
		return nil, err
	}
	s.channel.OnOpen(func() { close(s.open) })
	listen(s.channel)
	made, err := one.CreateOffer(nil)
	return local(one, made, err)
}

func (s *stack) run(name string, args arguments) (any, error) {
	switch name {
	case "answer":
		one, err := s.connection("subscriber")
		if err != nil {
			return nil, err
		}
		if err := one.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: args.SDP}); err != nil {
			return nil, err
		}
		made, err := one.CreateAnswer(nil)
		return local(one, made, err)
	case "offer":
		return s.offer(args)
	case "accept":
		one, err := s.connection("publisher")
		if err != nil {
			return nil, err
		}
		return nil, one.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: args.SDP})
	case "candidate":
		one, err := s.connection(args.Connection)
		if err != nil {
			return nil, err
		}
		return nil, one.AddICECandidate(args.Candidate)
	case "rtp":
		_, err := s.sending[args.Mid].Write(args.Base64)
		return nil, err
	case "keyframe":
		s.guard.Lock()
		track := s.receiving[args.Mid]
		s.guard.Unlock()
		one, err := s.connection("subscriber")
		if err != nil {
			return nil, err
		}
		return nil, one.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}})
	case "send":
		<-s.open
		return nil, s.channel.Send(args.Base64)
	default:
		return nil, fmt.Errorf("there is no command %q", name)
	}
}

func main() {
	s := &stack{
		connections: map[string]*webrtc.PeerConnection{},
		sending:     map[string]*webrtc.TrackLocalStaticRTP{},
		receiving:   map[string]*webrtc.TrackRemote{},
		open:        make(chan struct{}),
	}
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var message request
		var args arguments
		if err := json.Unmarshal(line, &message); err != nil {
			panic(err)
		}
		if len(message.Args) > 0 {
			if err := json.Unmarshal(message.Args, &args); err != nil {
				panic(err)
			}
		}
		answer := func() {
			value, err := s.run(message.Name, args)
			if err != nil {
				say(map[string]any{"id": message.ID, "error": err.Error()})
				return
			}
			say(map[string]any{"id": message.ID, "value": value})
		}
		// Packets keep their order; what waits keeps nothing else waiting.
		if message.Name == "rtp" {
			answer()
		} else {
			go answer()
		}
	}
	for _, one := range s.connections {
		_ = one.Close()
	}
}
